//! The units, by systemd itself.

use crate::{root, run};

/// systemd-analyze's number of a unit: 0 is locked up, 10 is open.
fn exposure(unit: &str) -> f64 {
    let (_, said) = run("systemd-analyze", &["security", "--offline=true", unit]);
    let line = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{said}"));
    line.rsplit(": ").next().unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_units_are_well_formed() {
    for unit in ["iglu.service", "iglu-node.service", "iglu-backup.service", "iglu-backup.timer"] {
        // As it would be installed, but with a program that is there.
        let text = std::fs::read_to_string(root().join("deploy/systemd").join(unit)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(unit);
        std::fs::write(&file, text.replace("/usr/bin/iglu", "/bin/true").replace("/usr/bin/rsync", "/bin/true"))
            .unwrap();
        if unit == "iglu-backup.timer" {
            // What it starts.
            std::fs::write(folder.path().join("iglu-backup.service"), "[Service]\nType=oneshot\nExecStart=/bin/true\n")
                .unwrap();
        }
        let (is_well, said) = run("systemd-analyze", &["verify", file.to_str().unwrap()]);
        assert!(is_well && said.trim().is_empty(), "{unit}: {said}");
        std::fs::write(&file, text.replace("ProtectHome", "ProtectHouse").replace("Persistent", "Consistent")).unwrap();
        let (_, said) = run("systemd-analyze", &["verify", file.to_str().unwrap()]);
        assert!(said.contains("ProtectHouse") || said.contains("Consistent"), "the judge sleeps: {said}");
    }
}

#[test]
fn the_server_is_locked_up() {
    let server = exposure("deploy/systemd/iglu.service");
    assert!(server <= 2.0);
    // Runs make namespaces, which much of the rest would forbid.
    let node = exposure("deploy/systemd/iglu-node.service");
    assert!(node <= 5.5);
    // What is said of it is so.
    let page = std::fs::read_to_string(root().join("docs/operations/systemd.md")).unwrap();
    assert!(page.contains(&format!("`systemd-analyze security iglu` gives {server:.1}")), "{server}");
    assert!(page.contains(&format!("less is forbidden ({node:.1})")), "{node}");
    let unit = std::fs::read_to_string(root().join("deploy/systemd/iglu.service")).unwrap();
    assert!(unit.contains(&format!("security gives it {server:.1} ")), "{server}");
}

/// The kernel lets runs mount a /proc of their own only where the outer one is seen whole.
#[test]
fn nothing_covers_a_part_of_the_nodes_proc() {
    let unit = std::fs::read_to_string(root().join("deploy/systemd/iglu-node.service")).unwrap();
    let covers = ["ProtectKernelLogs", "ProtectKernelTunables", "ProtectProc", "ProcSubset", "InaccessiblePaths"];
    for line in unit.lines().filter(|line| !line.starts_with('#')) {
        assert!(!covers.iter().any(|word| line.starts_with(word)), "{line}");
    }
}

/// The drop-in of the page, behind the unit as systemd reads it.
#[test]
fn it_can_have_a_port_below_1024() {
    let page = std::fs::read_to_string(root().join("docs/operations/systemd.md")).unwrap();
    let more = page.split("```ini\n").nth(1).unwrap().split("```").next().unwrap();
    let unit = std::fs::read_to_string(root().join("deploy/systemd/iglu.service")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("iglu.service");
    std::fs::write(&file, format!("{}\n{more}", unit.replace("/usr/bin/iglu", "/bin/true"))).unwrap();
    let (is_well, said) = run("systemd-analyze", &["verify", file.to_str().unwrap()]);
    assert!(is_well && said.trim().is_empty(), "{said}");
    let right = "CAP_NET_BIND_SERVICE";
    for line in [format!("CapabilityBoundingSet={right}"), format!("AmbientCapabilities={right}")] {
        assert!(more.lines().any(|one| one == line), "{line}");
    }
    let number = exposure(file.to_str().unwrap());
    assert!(number <= 2.0 && page.contains(&format!("With these lines the unit has {number:.1}")), "{number}");
}
