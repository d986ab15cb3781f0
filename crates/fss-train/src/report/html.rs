//! One page with everything.

use std::path::{Path, PathBuf};

use fss_data::io::write_atomic;

use super::base64;
use super::curve::training_curve;
use super::table::{Beside, header, percent};
use crate::TrainError;
use crate::evaluate::Evaluation;
use crate::log::LogEntry;

/// A picture of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PanelImage {
    /// The bytes of a PNG file, which become part of the page.
    Png(Vec<u8>),
    /// A file beside the page, by its path from there.
    File(PathBuf),
}

/// A picture with a line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panel {
    /// The picture.
    pub image: PanelImage,
    /// What it shows.
    pub caption: String,
}

/// The content of a page. Parts that are not given are left out.
#[derive(Debug, Clone, Default)]
pub struct HtmlReport<'a> {
    title: String,
    introduction: Vec<String>,
    evaluations: Vec<(String, &'a Evaluation)>,
    log: &'a [LogEntry],
    panels: Vec<Panel>,
    tables: Vec<(String, String)>,
    settings: Option<String>,
}

impl<'a> HtmlReport<'a> {
    /// An empty page.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a paragraph below the title.
    pub fn paragraph(mut self, text: impl Into<String>) -> Self {
        self.introduction.push(text.into());
        self
    }

    /// Adds an evaluation under a name. The classes and seeds of the last one added are shown.
    pub fn evaluation(mut self, name: impl Into<String>, evaluation: &'a Evaluation) -> Self {
        self.evaluations.push((name.into(), evaluation));
        self
    }

    /// Adds the course of training.
    pub fn log(mut self, log: &'a [LogEntry]) -> Self {
        self.log = log;
        self
    }

    /// Adds a picture.
    pub fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }

    /// Adds a section with a text in fixed width, as a table of scores.
    pub fn table(mut self, title: impl Into<String>, text: impl Into<String>) -> Self {
        self.tables.push((title.into(), text.into()));
        self
    }

    /// Adds a text in fixed width at the end, as the recipe.
    pub fn settings(mut self, text: impl Into<String>) -> Self {
        self.settings = Some(text.into());
        self
    }

    /// Writes the page, whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Data`] naming the file.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        Ok(write_atomic(path, self.render().as_bytes())?)
    }

    /// The page.
    pub fn render(&self) -> String {
        let mut body = format!("<h1>{}</h1>\n", escape(&self.title));
        for text in &self.introduction {
            body.push_str(&format!("<p class=\"lead\">{}</p>\n", escape(text)));
        }
        if !self.evaluations.is_empty() {
            body.push_str(&section("Results", &self.scores()));
        }
        if let Some((name, evaluation)) = self.evaluations.last() {
            body.push_str(&section(&format!("Classes and seeds: {name}"), &details(evaluation)));
        }
        for (title, text) in &self.tables {
            body.push_str(&section(title, &format!("<pre>{}</pre>\n", escape(text))));
        }
        if let Some(curve) = training_curve(self.log) {
            let legend = "<p class=\"legend\"><span class=\"loss\">loss</span> \
                          <span class=\"score\">validation mIoU, %</span></p>\n";
            body.push_str(&section("Training", &format!("{legend}{curve}")));
        }
        if !self.panels.is_empty() {
            let figures: String = self.panels.iter().map(figure).collect();
            body.push_str(&section(
                "Pictures",
                &format!("<div class=\"panels\">{figures}</div>\n"),
            ));
        }
        if let Some(text) = &self.settings {
            body.push_str(&section("Settings", &format!("<pre>{}</pre>\n", escape(text))));
        }
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
             </body>\n</html>\n",
            escape(&self.title),
            include_str!("style.css"),
        )
    }

    fn scores(&self) -> String {
        let top = self
            .evaluations
            .iter()
            .filter_map(|(_, e)| e.miou.as_ref().map(|m| m.mean))
            .fold(0.0, f64::max);
        let rows: String = self
            .evaluations
            .iter()
            .map(|(name, e)| {
                let mean = e.miou.as_ref().map(|m| m.mean);
                let bar = mean.filter(|_| top > 0.0).map_or(0.0, |mean| 100.0 * mean / top);
                let cells = [
                    (&e.miou, format!("<td class=\"bar\"><i style=\"width:{bar:.1}%\"></i></td>")),
                    (&e.fb_iou, String::new()),
                ]
                .map(|(spread, after)| {
                    let mean = percent(spread.as_ref().map(|s| s.mean));
                    let deviation = percent(spread.as_ref().map(|s| s.deviation));
                    format!("<td>{mean} <small>&plusmn; {deviation}</small></td>{after}")
                });
                let protocol = escape(&e.protocol.label());
                let name = escape(name);
                format!("<tr><th>{name}</th>{}<td>{protocol}</td></tr>\n", cells.concat())
            })
            .collect();
        // Equal evaluations but for the model need one note.
        let mut notes: Vec<String> = Vec::new();
        for (name, e) in &self.evaluations {
            let text = header(e, Beside::Measurement);
            if !notes.contains(&text) {
                notes.push(text);
            }
            if let Some(warning) = e.novelty.warning() {
                notes.push(format!("WARNING, {name}: {warning}"));
            }
        }
        let notes: String = notes
            .iter()
            .map(|text| {
                let lines: Vec<String> = text.lines().map(escape).collect();
                format!("<p class=\"note\">{}</p>\n", lines.join("<br>"))
            })
            .collect();
        format!(
            "<table>\n<tr><th></th><td>mIoU</td><td></td><td>FB-IoU</td><td>protocol</td></tr>\n\
             {rows}</table>\n{notes}<p class=\"note\">IoU in per cent, &plusmn; sample deviation over \
             the seeds.</p>\n"
        )
    }
}

fn details(evaluation: &Evaluation) -> String {
    let classes: String = evaluation
        .classes
        .iter()
        .map(|class| {
            let mean = class.iou.as_ref().map(|s| s.mean);
            format!(
                "<tr><th>{}</th><td>{}</td><td class=\"bar\"><i style=\"width:{:.1}%\"></i></td></tr>\n",
                escape(&class.name),
                percent(mean),
                mean.unwrap_or(0.0) * 100.0,
            )
        })
        .collect();
    let seeds: String = evaluation
        .runs
        .iter()
        .map(|run| {
            format!(
                "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                run.seed,
                percent(run.scores.miou),
                percent(run.scores.fb_iou),
                percent(run.scores.mean_episode_iou),
            )
        })
        .collect();
    format!(
        "<div class=\"columns\">\n<table>\n<tr><th>class</th><td>IoU</td><td></td></tr>\n{classes}\
         </table>\n<table>\n<tr><th>seed</th><td>mIoU</td><td>FB-IoU</td><td>episode IoU</td></tr>\n\
         {seeds}</table>\n</div>\n<p class=\"note\">{} images were shown, the backbone ran {} times \
         ({:.1} times less).</p>\n",
        evaluation.features.images_shown,
        evaluation.features.backbone_passes,
        evaluation.features.saving(),
    )
}

fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{content}</section>\n", escape(title))
}

fn figure(panel: &Panel) -> String {
    let source = match &panel.image {
        PanelImage::Png(bytes) => format!("data:image/png;base64,{}", base64::encode(bytes)),
        PanelImage::File(path) => escape(&path.to_string_lossy().replace('\\', "/")),
    };
    let caption = escape(&panel.caption);
    format!(
        "<figure><img src=\"{source}\" alt=\"{caption}\" loading=\"lazy\">\
         <figcaption>{caption}</figcaption></figure>\n"
    )
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, c| {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::sample;
    use super::*;

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let evaluation = sample();
        let log = [LogEntry::Iteration {
            iteration: 1,
            rate: 0.1,
            loss: Some(1.5),
            terms: serde_json::Map::new(),
        }];
        let page = HtmlReport::new("SSP <demo>")
            .paragraph("a & b")
            .evaluation("untrained", &evaluation)
            .evaluation("trained", &evaluation)
            .log(&log)
            .panel(Panel { image: PanelImage::Png(vec![1, 2, 3]), caption: "\"x\"".into() })
            .settings("lr = 1")
            .render();
        assert!(page.contains("<title>SSP &lt;demo&gt;</title>") && page.contains("a &amp; b"));
        assert!(page.contains("data:image/png;base64,AQID") && page.contains("&quot;x&quot;"));
        assert!(page.contains("75.00 <small>&plusmn; 35.36") && page.contains("<svg"));
        assert_eq!(
            page.matches("protocol official (SSP, MLC)").count(),
            1,
            "equal notes come once"
        );
        assert!(!page.contains("http"), "no outside resource");
        for tag in ["section", "table", "figure", "div", "tr"] {
            let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
            assert_eq!(page.matches(&open).count(), page.matches(&close).count(), "{tag}");
        }
    }

    #[test]
    fn parts_that_are_not_given_are_left_out() {
        let page = HtmlReport::new("empty").render();
        assert!(!page.contains("<section") && page.contains("<h1>empty</h1>"));
    }

    #[test]
    fn a_page_that_cannot_be_written_is_named() {
        let error = HtmlReport::new("x").save(Path::new("/nowhere/report.html")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/report.html"));
    }
}
