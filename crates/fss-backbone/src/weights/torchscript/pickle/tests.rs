//! Opcodes, well-formed and not.

use super::*;

#[test]
fn what_torchscript_does_not_write_is_refused() {
    for (pickle, words) in [
        (&b"\x80\x02cos\nsystem\n(X\x02\0\0\0lsio."[..], "opcode 0x69"),
        (b"\x80\x02", "ends too early"),
        (b"\x80\x02X\xff\xff\xff\xffab", "ends too early"),
        (b"\x80\x02R.", "takes more values"),
        (b"\x80\x02t.", "takes more values"),
        (b"\x80\x02h\x05.", "memo 5"),
        (b"\x80\x02NNa.", "no list"),
        (b"\x80\x02(K\x01K\x02tQ.", "unknown way"),
    ] {
        let message = Pickle::read(pickle).unwrap_err();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn calls_do_nothing() {
    let pickle = Pickle::read(b"\x80\x02cos\nsystem\n(X\x02\0\0\0lstR.").unwrap();
    assert!(matches!(pickle.node(pickle.root()), Node::Inert));
}

#[test]
fn integers_of_every_width() {
    for (pickle, value) in [
        (&b"K\xff."[..], 255),
        (b"M\x01\x02.", 513),
        (b"J\xff\xff\xff\xff.", -1),
        (b"\x8a\x00.", 0),
        (b"\x8a\x02\x00\x80.", -32768),
        (b"\x8a\x05\x00\x00\x00\x00\x01.", 1 << 32),
    ] {
        let pickle = Pickle::read(pickle).unwrap();
        let Node::Integer(found) = pickle.node(pickle.root()) else { panic!("no integer") };
        assert_eq!(*found, value);
    }
    assert!(Pickle::read(b"\x8a\x09123456789.").is_err());
}
