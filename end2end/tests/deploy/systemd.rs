//! The units, by systemd itself.

use crate::{root, run};

/// systemd-analyze's number of a unit: 0 is locked up, 10 is open.
fn exposure(unit: &str) -> f64 {
    let (_, said) = run("systemd-analyze", &["security", "--offline=true", &format!("deploy/systemd/{unit}")]);
    let line = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    line.rsplit(": ").next().unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_units_are_well_formed() {
    for unit in ["iglu.service", "iglu-node.service"] {
        // As it would be installed, but with a program that is there.
        let text = std::fs::read_to_string(root().join("deploy/systemd").join(unit)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(unit);
        std::fs::write(&file, text.replace("/usr/bin/iglu", "/bin/true")).unwrap();
        let (is_well, said) = run("systemd-analyze", &["verify", file.to_str().unwrap()]);
        assert!(is_well && said.trim().is_empty(), "{unit}: {said}");
        std::fs::write(&file, text.replace("ProtectHome", "ProtectHouse")).unwrap();
        let (_, said) = run("systemd-analyze", &["verify", file.to_str().unwrap()]);
        assert!(said.contains("ProtectHouse"), "the judge sleeps: {said}");
    }
}

#[test]
fn the_server_is_locked_up() {
    assert!(exposure("iglu.service") <= 2.0);
    // Runs make namespaces, which much of the rest would forbid.
    assert!(exposure("iglu-node.service") <= 5.5);
}
