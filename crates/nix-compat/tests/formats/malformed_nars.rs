//! Every rule of the NAR format, broken once, in one piece and byte by byte.

use nix_compat::nar::{Event, Limits, Malformation, NarError, Parser, Writer};

use crate::tree::Tree;

/// The strings of the format one after the other.
fn strings<S: AsRef<[u8]>>(strings: impl IntoIterator<Item = S>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for string in strings {
        let string = string.as_ref();
        bytes.extend_from_slice(&(string.len() as u64).to_le_bytes());
        bytes.extend_from_slice(string);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// Strings told as words, `_` being the empty one, after the magic string.
fn nar(words: &str) -> Vec<u8> {
    let words = words.split_whitespace().map(|word| if word == "_" { "" } else { word });
    strings(["nix-archive-1"].into_iter().chain(words))
}

fn parse(nar: &[u8], piece_len: usize, limits: Limits) -> Result<u64, NarError> {
    let mut parser = Parser::new(limits);
    for piece in nar.chunks(piece_len) {
        parser.feed(piece, &mut |_| Ok(()))?;
    }
    parser.finish()
}

/// The result, which must not depend on how the input is cut.
fn outcome(nar: &[u8], limits: Limits) -> Result<u64, NarError> {
    let whole = parse(nar, usize::MAX, limits);
    for piece_len in [1, 3, 7, 8, 9] {
        assert_eq!(format!("{:?}", parse(nar, piece_len, limits)), format!("{whole:?}"), "pieces of {piece_len}");
    }
    whole
}

fn refusal(nar: &[u8]) -> Malformation {
    match outcome(nar, Limits::default()) {
        Err(NarError::Malformed { malformation, offset }) => {
            assert!(offset < nar.len() as u64);
            malformation
        }
        other => panic!("expected a malformed NAR, got {other:?}"),
    }
}

fn expected(nar: &[u8]) -> &'static str {
    match refusal(nar) {
        Malformation::Unexpected { expected } => expected,
        other => panic!("expected another tag, got {other:?}"),
    }
}

#[test]
fn well_formed() {
    for words in [
        "( type regular contents _ )",
        "( type regular executable _ contents x )",
        "( type symlink target x )",
        "( type directory )",
        "( type directory entry ( name Z node ( type directory ) ) entry ( name a.b node ( type symlink target x ) ) )",
        "( type directory entry ( name ... node ( type directory ) ) entry ( name ~nix~case~hack~1 node ( type directory ) ) )",
    ] {
        let nar = nar(words);
        assert_eq!(outcome(&nar, Limits::with_max_size(nar.len() as u64)).unwrap(), nar.len() as u64, "{words}");
    }
}

#[test]
fn tags() {
    assert_eq!(expected(&strings(["nix-archive-2"])), "\"nix-archive-1\"");
    assert_eq!(expected(&nar(")")), "\"(\" of a node");
    assert_eq!(expected(&nar("( contents")), "\"type\"");
    for kind in ["fifo", "Regular", "_", "directory\0"] {
        assert_eq!(expected(&nar(&format!("( type {kind}"))), "\"regular\", \"symlink\" or \"directory\"");
    }
    assert_eq!(expected(&nar("( type regular )")), "\"executable\" or \"contents\"");
    assert_eq!(expected(&nar("( type regular executable yes")), "an empty string after \"executable\"");
    assert_eq!(expected(&nar("( type regular executable _ executable")), "\"contents\"");
    assert_eq!(expected(&nar("( type regular executable _ )")), "\"contents\"");
    assert_eq!(expected(&nar("( type regular contents x contents y )")), "\")\" of a node");
    assert_eq!(expected(&nar("( type regular contents x executable _ )")), "\")\" of a node");
    assert_eq!(expected(&nar("( type symlink )")), "\"target\"");
    assert_eq!(expected(&nar("( type symlink target x target y )")), "\")\" of a node");
    assert_eq!(expected(&nar("( type directory node")), "\"entry\" or \")\" of a directory");
    assert_eq!(expected(&nar("( type directory entry )")), "\"(\" of an entry");
    assert_eq!(expected(&nar("( type directory entry ( node")), "\"name\"");
    assert_eq!(expected(&nar("( type directory entry ( name x )")), "\"node\"");
    assert_eq!(expected(&nar("( type directory entry ( name x name y")), "\"node\"");
    assert_eq!(expected(&nar("( type directory entry ( name x node ( type directory ) node")), "\")\" of an entry");
}

#[test]
fn names() {
    let entries = |names: &[&[u8]]| {
        let mut words: Vec<&[u8]> = vec![b"nix-archive-1", b"(", b"type", b"directory"];
        for name in names {
            words.extend([b"entry", &b"("[..], b"name", name, b"node", b"(", b"type", b"directory", b")", b")"]);
        }
        words.push(b")");
        strings(words)
    };
    assert!(outcome(&entries(&[b"Z", b"a", b"a.b", b"a0", b"\xc3\xa9", b"\xff"]), Limits::default()).is_ok());
    assert!(outcome(&entries(&[&[b'n'; 255]]), Limits::default()).is_ok());
    assert!(outcome(&entries(&[b"new\nline", b"tab\t", b"~\x7f"]), Limits::default()).is_ok());
    assert_eq!(refusal(&entries(&[b""])), Malformation::NameEmpty);
    assert_eq!(refusal(&entries(&[b"."])), Malformation::NameDot);
    assert_eq!(refusal(&entries(&[b".."])), Malformation::NameDot);
    for name in [&b"a/b"[..], b"/", b"../x", b"a\0b", b"\0"] {
        assert_eq!(refusal(&entries(&[name])), Malformation::NameInvalidByte);
    }
    assert_eq!(refusal(&entries(&[&[b'n'; 256]])), Malformation::StringTooLong { len: 256, max: 255 });
    for names in [[&b"b"[..], b"a"], [b"a", b"Z"], [b"aa", b"a"], [b"\xc3\xa9", b"z"]] {
        assert_eq!(refusal(&entries(&names)), Malformation::NameOrder);
    }
    assert_eq!(refusal(&entries(&[b"a", b"a"])), Malformation::NameRepeated);
    // Order holds within each directory only.
    assert!(
        outcome(
            &nar(concat!(
                "( type directory entry ( name a node ( type directory entry ( name z node ( type directory ) ) ) ) ",
                "entry ( name b node ( type directory entry ( name a node ( type directory ) ) ) ) )"
            )),
            Limits::default()
        )
        .is_ok()
    );
}

#[test]
fn targets() {
    let link = |target: &[u8]| strings([b"nix-archive-1", &b"("[..], b"type", b"symlink", b"target", target, b")"]);
    assert!(outcome(&link(&[b't'; 4095]), Limits::default()).is_ok());
    assert!(outcome(&link(b"../\xff\n"), Limits::default()).is_ok());
    assert_eq!(refusal(&link(b"")), Malformation::TargetEmpty);
    assert_eq!(refusal(&link(b"a\0b")), Malformation::TargetInvalidByte);
    assert_eq!(refusal(&link(&[b't'; 4096])), Malformation::StringTooLong { len: 4096, max: 4095 });
}

#[test]
fn padding() {
    let good = Tree::directory([("abc", Tree::file("hello"))]).to_nar();
    let mut at = 0;
    let mut checked = 0;
    // Every padding byte of the archive, found by walking its strings.
    while at < good.len() {
        let len = u64::from_le_bytes(good[at..at + 8].try_into().unwrap()) as usize;
        for index in at + 8 + len..at + 8 + len.next_multiple_of(8) {
            let mut bad = good.clone();
            bad[index] = 1;
            match outcome(&bad, Limits::default()) {
                Err(NarError::Malformed { offset, malformation: Malformation::Padding }) => {
                    assert_eq!(offset, index as u64);
                }
                other => panic!("{other:?}"),
            }
            checked += 1;
        }
        at += 8 + len.next_multiple_of(8);
    }
    assert!(checked > 50);
}

#[test]
fn depth() {
    assert!(outcome(&Tree::nested(63).to_nar(), Limits::default()).is_ok());
    assert_eq!(refusal(&Tree::nested(64).to_nar()), Malformation::TooDeep { max: 63 });
    let flat = Limits { max_depth: 1, ..Limits::default() };
    assert!(outcome(&Tree::file("x").to_nar(), flat).is_ok());
    assert!(outcome(&Tree::directory::<&str>([]).to_nar(), flat).is_err());
    assert!(outcome(&Tree::nested(200).to_nar(), Limits { max_depth: 201, ..flat }).is_ok());
}

#[test]
fn trailing_bytes_and_truncation() {
    for tree in [
        Tree::file("hello"),
        Tree::symlink("x"),
        Tree::directory([("a", Tree::directory([("b", Tree::executable("")), ("c", Tree::symlink("y"))]))]),
    ] {
        let nar = tree.to_nar();
        for tail in [&b"\0"[..], b"x", &nar] {
            let longer = [&nar, tail].concat();
            match outcome(&longer, Limits::default()) {
                Err(NarError::Malformed { offset, malformation: Malformation::TrailingBytes }) => {
                    assert_eq!(offset, nar.len() as u64);
                }
                other => panic!("{other:?}"),
            }
        }
        for len in 0..nar.len() {
            match parse(&nar[..len], 5, Limits::default()) {
                Err(NarError::Truncated { offset, .. }) => assert_eq!(offset, len as u64),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn announced_lengths_are_not_trusted() {
    // Tags, names and targets: refused by their length alone, before any of the bytes are there.
    for (head, max) in [
        (Vec::new(), 32),
        (nar("("), 32),
        (nar("( type directory entry ( name"), 255),
        (nar("( type symlink target"), 4095),
        (nar("( type regular executable"), 32),
    ] {
        for len in [max as u64 + 1, 1 << 40, u64::MAX - 7, u64::MAX] {
            let bytes = [&head[..], &len.to_le_bytes()].concat();
            assert_eq!(refusal(&bytes), Malformation::StringTooLong { len, max });
        }
    }
    // A file is refused as soon as its length exceeds what is left of the announced size.
    let head = nar("( type regular contents");
    let limits = Limits::with_max_size(200);
    for len in [200 - head.len() as u64 - 7, 1 << 40, u64::MAX] {
        match outcome(&[&head[..], &len.to_le_bytes()].concat(), limits) {
            Err(NarError::Malformed { offset, malformation: Malformation::FileTooLong { len: told, left } }) => {
                assert_eq!((offset, told, left), (head.len() as u64, len, 192 - head.len() as u64));
            }
            other => panic!("{other:?}"),
        }
    }
    // Without an announced size it is taken as it comes.
    let endless = [&head[..], &u64::MAX.to_le_bytes()].concat();
    assert!(matches!(outcome(&endless, Limits::default()), Err(NarError::Malformed { .. })));
    let endless = [&head[..], &(1_u64 << 62).to_le_bytes(), &[0; 64]].concat();
    assert!(matches!(outcome(&endless, Limits::default()), Err(NarError::Truncated { .. })));
}

#[test]
fn announced_size_is_kept() {
    let nar = Tree::directory([("a", Tree::file("hello"))]).to_nar();
    let len = nar.len() as u64;
    assert!(outcome(&nar, Limits::with_max_size(len)).is_ok());
    for max_size in 0..len {
        match outcome(&nar, Limits::with_max_size(max_size)) {
            Err(NarError::TooLarge { max_size: told }) => assert_eq!(told, max_size),
            Err(NarError::Malformed { malformation: Malformation::FileTooLong { .. }, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn errors_stay() {
    let mut parser = Parser::new(Limits::default());
    assert!(parser.feed(&nar(")"), &mut |_| Ok(())).is_err());
    assert!(matches!(parser.feed(b"", &mut |_| Ok(())), Err(NarError::RefusedBefore)));
    assert!(matches!(parser.finish(), Err(NarError::RefusedBefore)));
    // An error of the receiver ends it too.
    let mut parser = Parser::new(Limits::default());
    let full = |event: Event<'_>| match event {
        Event::Directory => Err(NarError::Output(std::io::Error::other("disk full"))),
        _ => Ok(()),
    };
    let error = parser.feed(&nar("( type directory )"), &mut { full }).unwrap_err();
    assert_eq!(error.to_string(), "output made from the NAR cannot be written: disk full");
    assert!(matches!(parser.finish(), Err(NarError::RefusedBefore)));
}

#[test]
fn error_messages_are_one_line() {
    let error = outcome(&nar("( type directory entry ( name a/b node"), Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "NAR is malformed at byte 128: entry name has a slash or NUL");
    let error = outcome(&nar("( type"), Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "NAR ends after 56 bytes, expected \"regular\", \"symlink\" or \"directory\"");
}

#[test]
fn writer_refuses_what_readers_do() {
    let begin = || {
        let mut writer = Writer::new(Vec::new()).unwrap();
        writer.begin_directory().unwrap();
        writer
    };
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'n'; 256]] {
        assert!(begin().entry(name).is_err());
    }
    let mut writer = begin();
    writer.entry(b"b").unwrap();
    assert!(writer.entry(b"c").is_err());
    assert!(writer.end_directory().is_err());
    writer.symlink(b"x").unwrap();
    assert!(writer.symlink(b"x").is_err());
    assert!(writer.entry(b"a").is_err());
    assert!(writer.entry(b"b").is_err());
    assert!(begin().finish().is_err());
    assert!(Writer::new(Vec::new()).unwrap().finish().is_err());
    for target in [&b""[..], b"\0", &[b't'; 4096]] {
        assert!(Writer::new(Vec::new()).unwrap().symlink(target).is_err());
    }
    let mut writer = Writer::new(Vec::new()).unwrap();
    assert!(writer.file(false, 3, &b"ab"[..]).is_err());
}
