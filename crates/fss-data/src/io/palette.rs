//! The colours of label masks.

/// The colour map of PASCAL VOC: RGB for each of the 256 labels.
///
/// The bits of a label are dealt out to red, green and blue in turn, the lowest bits to the most
/// significant places, so that neighbouring labels get distant colours. Label 0 is black, 1
/// (aeroplane) dark red, 255 (ignore) a light cream.
pub fn voc_palette() -> [[u8; 3]; 256] {
    std::array::from_fn(|label| {
        let mut rgb = [0u8; 3];
        for bit in 0..8 {
            let channel = bit % 3;
            let place = 7 - bit / 3;
            rgb[channel] |= ((label >> bit & 1) as u8) << place;
        }
        rgb
    })
}

#[cfg(test)]
mod tests {
    use super::voc_palette;

    #[test]
    fn known_colours() {
        let palette = voc_palette();
        assert_eq!(palette[0], [0, 0, 0]);
        assert_eq!(palette[1], [128, 0, 0]);
        assert_eq!(palette[2], [0, 128, 0]);
        assert_eq!(palette[5], [128, 0, 128]);
        assert_eq!(palette[8], [64, 0, 0]);
        assert_eq!(palette[15], [192, 128, 128]);
        assert_eq!(palette[20], [0, 64, 128]);
        assert_eq!(palette[255], [224, 224, 192]);
    }

    #[test]
    fn colours_are_distinct() {
        let mut palette = voc_palette().to_vec();
        palette.sort_unstable();
        palette.dedup();
        assert_eq!(palette.len(), 256);
    }
}
