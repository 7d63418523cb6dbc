//! Pages with commands, from the first to the last, and what has to be so at their end.

use iglu_end2end::nix::{FreshStore, Nix, said};
use iglu_end2end::postgres::Postgres;

use crate::block::{Block, blocks};
use crate::world::{World, is_empty};

/// A page that is followed.
pub struct Page {
    pub name: &'static str,
    /// What is so before: commands, which may export variables in `~/.scene`.
    scene: &'static str,
}

const SERVER: &str = "systemctl start iglu";
const CACHE: &str = "systemctl start iglu; iglu admin --data data cache create main; \
    iglu admin --data data token create t --cache main --scope push";
/// A person at a terminal who may do everything.
const LOGGED_IN: &str = "systemctl start iglu; iglu admin --data data cache create main; \
    iglu admin --data data token create all --all-caches --scope admin --json | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/' > token; \
    iglu login https://cache.example.org < token; \
    echo \"machine 127.0.0.1 login iglu password $(cat token)\" > /etc/nix/netrc; echo \"netrc-file = /etc/nix/netrc\" >> /etc/nix/nix.conf; \
    echo \"export IGLU_DATA=$PWD/data IGLU_TOKEN=$(cat token)\" > ~/.scene; ";

pub const PAGES: [Page; 12] = [
    Page { name: "README.md", scene: SERVER },
    Page { name: "docs/quick-start.md", scene: "" },
    Page { name: "docs/ci.md", scene: LOGGED_IN },
    Page { name: "docs/clients.md", scene: LOGGED_IN },
    Page { name: "docs/builders.md", scene: LOGGED_IN },
    Page { name: "docs/operations/backup.md", scene: CACHE },
    Page { name: "docs/operations/nodes.md", scene: LOGGED_IN },
    Page { name: "docs/operations/replicas.md", scene: "" },
    Page { name: "docs/operations/retention.md", scene: LOGGED_IN },
    Page { name: "docs/operations/storage.md", scene: CACHE },
    Page { name: "docs/operations/systemd.md", scene: "" },
    Page { name: "docs/operations/upgrade.md", scene: CACHE },
];

/// Runs all commands of a page.
async fn follow(name: &str, names: &[(&str, &str)], prepare: &str) -> World {
    let page = PAGES.iter().find(|page| page.name == name).unwrap();
    let mut world = World::new(names).await;
    if !page.scene.is_empty() {
        world.run(page.scene);
    }
    if !prepare.is_empty() {
        world.run(prepare);
    }
    for block in blocks().into_iter().filter(|block| block.page == name && block.not_run().is_none()) {
        step(&mut world, &block);
    }
    world
}

fn step(world: &mut World, block: &Block) {
    println!("{block}");
    match block.language.as_str() {
        "sh" if block.is_background() => world.begin(&block.text),
        "sh" => drop(world.run(&block.text)),
        "console" => {
            for line in block.text.lines() {
                match line.strip_prefix("$ ") {
                    Some(command) => {
                        let said = world.run(command);
                        std::fs::write(world.place("said"), said).unwrap();
                    }
                    // What the page says that is printed, is.
                    None => {
                        let said = std::fs::read_to_string(world.place("said")).unwrap();
                        assert!(said.contains(&world.meant(line)), "{block}: {line}\nbut:\n{said}");
                    }
                }
            }
        }
        "netrc" => {
            let text = world.meant(&block.text);
            std::fs::write(world.place("home/.netrc"), text).unwrap();
        }
        // Files are looked at elsewhere.
        _ => {}
    }
}

/// Takes what was pushed on another machine, which has only the lines that the page says.
async fn pulled_elsewhere(world: &mut World, page: &str) {
    let block = blocks().into_iter().find(|block| block.page == page && block.language == "nix.conf").unwrap();
    world.run("iglu admin --data data cache show main");
    let conf = world.meant(&block.text);
    let value = |name: &str| {
        let line = conf.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = ")).unwrap();
        line.split(' ').next_back().unwrap().to_owned()
    };
    let (cache, key) = (value("substituters"), value("trusted-public-keys"));
    let store = FreshStore::new().unwrap();
    let result = world.result.clone();
    let output = Nix::new().unwrap().substitute(&store, &cache, &key, &[&result]).await.unwrap();
    assert!(output.status.success() && store.locate(&result).exists(), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn readme() {
    let mut world = follow("README.md", &[], "").await;
    pulled_elsewhere(&mut world, "README.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quick_start() {
    let mut world = follow("docs/quick-start.md", &[], "").await;
    pulled_elsewhere(&mut world, "docs/quick-start.md").await;
}

/// A flake that needs nothing from anywhere.
const FLAKE: &str = r#"cat > flake.nix <<'NIX'
{
  outputs = { self }: {
    packages.x86_64-linux.default = derivation {
      name = "documents-flake";
      system = "x86_64-linux";
      builder = "/bin/sh";
      args = [ "-c" "echo built > $out" ];
    };
  };
}
NIX
rm -f deploy data iglu result"#;

#[tokio::test(flavor = "multi_thread")]
async fn ci() {
    let mut world = follow("docs/ci.md", &[], FLAKE).await;
    let said = world.run("iglu path list main");
    assert!(said.contains("documents-flake"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients() {
    let more = "iglu cache create b; iglu cache create c; nix copy --to 'https://cache.example.org/main' ./result";
    let mut world = follow("docs/clients.md", &[], more).await;
    let said = world.run("iglu pin list main");
    assert!(said.contains("release/1.4"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn builders() {
    let secret = "iglu builder create hooked main --spec <(echo '{\"repository\":\"https://git.example.org/x.git\",\"reference\":\"main\",\
        \"what\":{\"kind\":\"flake\",\"outputs\":[\"packages\"]},\"triggers\":{\"webhook\":{}}}') >/dev/null; \
        secret=$(curl --fail-with-body -sH \"Authorization: Bearer $IGLU_TOKEN\" https://cache.example.org/api/v1/builders/hooked/webhook | \
        sed 's/.*\"secret\":\"\\([^\"]*\\)\".*/\\1/'); echo \"export SECRET=$secret\" >> ~/.scene";
    let mut world = follow("docs/builders.md", &[("/hooks/website", "/hooks/hooked")], secret).await;
    let said = world.run("iglu builder list");
    assert!(said.contains("website"), "{said}");
    let said = world.run("iglu run list");
    assert!(said.contains("hooked"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backup() {
    let postgres = Postgres::start().unwrap();
    let world = follow("docs/operations/backup.md", &[("postgres://iglu@db/iglu", &postgres.url())], "").await;
    assert!(!is_empty(&world.place("backup/move/tables")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes() {
    let mut world = follow("docs/operations/nodes.md", &[], "").await;
    let said = world.run("iglu nodes list");
    assert!(said.contains("builder-1"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas() {
    let postgres = Postgres::start().unwrap();
    follow("docs/operations/replicas.md", &[("postgres://owner@host/iglu", &postgres.url())], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention() {
    follow("docs/operations/retention.md", &[], "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn storage() {
    let push = "nix copy --to 'https://cache.example.org/main' --option netrc-file netrc ./result";
    let push = format!(
        "echo \"machine 127.0.0.1 login t password iglu_…\" > netrc; echo \"export IGLU_DATA=$PWD/data\" > ~/.scene; {push}"
    );
    let mut world = follow("docs/operations/storage.md", &[], "true").await;
    // The storage is where it was moved to.
    world.run("echo \"export IGLU_STORAGE=s3://nix-cache\" >> ~/.scene");
    world.run("systemctl start iglu");
    world.run(&push);
    assert!(!is_empty(&world.place("bucket/nar")));
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd() {
    let settings = "printf 'public_url = \"https://cache.example.org\"\\n' > iglu.toml";
    let mut world = follow("docs/operations/systemd.md", &[], settings).await;
    for file in ["usr/bin/iglu", "etc/iglu/iglu.toml", "etc/systemd/system/iglu.service"] {
        assert!(world.place(file).exists(), "{file}");
    }
    // What the timer starts, as systemd would read it.
    let unit = std::fs::read_to_string(world.place("etc/systemd/system/iglu-backup.service")).unwrap();
    for line in unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")) {
        world.run(&line.replace("%%", "%").replace("/usr/bin/rsync", "rsync"));
    }
    assert!(world.place("backup/objects/nar").is_dir());
    let made = std::fs::read_dir(world.place("backup")).unwrap().filter_map(|entry| entry.ok());
    assert!(made.into_iter().any(|entry| entry.path().join("backup.json").exists()), "a backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrade() {
    let world = follow("docs/operations/upgrade.md", &[], "").await;
    assert!(world.place("backup/before-upgrade/backup.json").exists() && world.place("usr/bin/iglu").exists());
}
