//! The NixOS module and the flake, as far as Nix alone can read them: no nixpkgs is at hand.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{root, run};

/// What the module makes of a few settings, with as much of nixpkgs' lib as it uses.
const EVALUATED: &str = r#"
let
  lib = rec {
    mkEnableOption = _: { };
    mkOption = option: option;
    mkIf = condition: value: if condition then value else { };
    mkMerge = list: list;
    literalExpression = text: text;
    optional = condition: value: if condition then [ value ] else [ ];
    filterAttrs = keep: set: builtins.listToAttrs (map (name: { inherit name; value = set.${name}; })
      (builtins.filter (name: keep name set.${name}) (builtins.attrNames set)));
    splitString = by: text: builtins.filter builtins.isString (builtins.split by text);
    last = list: builtins.elemAt list (builtins.length list - 1);
    toInt = builtins.fromJSON;
    types = { };
  };
  pkgs = {
    formats.toml = _: { type = { }; generate = name: value: "/store/${name}#${builtins.toJSON value}"; };
    git = "git"; openssh = "openssh"; bubblewrap = "bubblewrap";
  };
  config.services.iglu = {
    enable = true; package = "/package"; environmentFile = "/run/secrets/iglu.env"; openFirewall = true;
    settings = { public_url = "https://cache.example.org"; listen = "[::]:8080"; storage = null; };
    node = { enable = true; server = "https://cache.example.org"; secretFile = "/run/secrets/node"; capacity = 3; };
  };
  config.nix.package = "nix";
  module = import MODULE { inherit config lib pkgs; };
in {
  server = builtins.elemAt module.config 0;
  node = builtins.elemAt module.config 1;
  options = builtins.attrNames module.options.services.iglu;
}
"#;

fn evaluated() -> Value {
    let module = root().join("deploy/nixos/module.nix");
    let expression = EVALUATED.replace("MODULE", module.to_str().unwrap());
    let args = ["--eval", "--strict", "--json", "--expr", &expression];
    let output = std::process::Command::new("nix-instantiate").args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The lines of `[Service]`, by their names.
fn unit(name: &str) -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(root().join("deploy/systemd").join(name)).unwrap();
    let service = text.split("[Service]").nth(1).unwrap().split("[Install]").next().unwrap();
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in service.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')) {
        lines.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    lines
}

/// As systemd reads a value of the module.
fn as_systemd(value: &Value) -> Vec<String> {
    match value {
        Value::Bool(true) => vec!["true".to_owned()],
        Value::Bool(false) => vec!["false".to_owned()],
        Value::Array(list) => list.iter().flat_map(as_systemd).collect(),
        Value::String(text) => vec![text.clone()],
        other => vec![other.to_string()],
    }
}

#[test]
fn nix_reads_every_file() {
    for file in ["flake.nix", "deploy/nixos/module.nix", "deploy/nixos/package.nix", "deploy/nixos/test.nix"] {
        let (is_well, said) = run("nix-instantiate", &["--parse", file]);
        assert!(is_well, "{file}: {said}");
    }
}

/// Two ways to install the same service: what one forbids, the other does too.
#[test]
fn the_module_is_the_unit() {
    let made = evaluated();
    for (part, name) in [("server", "iglu"), ("node", "iglu-node")] {
        let of_module = made[part]["systemd"]["services"][name]["serviceConfig"].as_object().unwrap();
        let mut of_unit = unit(&format!("{name}.service"));
        // What has to differ: paths and secrets, and what a file says in words that NixOS has options for.
        let own = ["ExecStart", "EnvironmentFile", "Environment", "LoadCredential", "OOMScoreAdjust"];
        own.iter().for_each(|name| drop(of_unit.remove(*name)));
        let is_same = |a: &[String], b: &[String]| {
            let normal = |list: &[String]| list.join(" ").replace("yes", "true");
            normal(a) == normal(b)
        };
        for (name, value) in &of_unit {
            let theirs = as_systemd(of_module.get(name).unwrap_or_else(|| panic!("{part}: the module has no {name}")));
            assert!(is_same(value, &theirs), "{part}: {name}: {value:?} and {theirs:?}");
        }
        let more: Vec<&String> = of_module.keys().filter(|name| !of_unit.contains_key(*name)).collect();
        assert!(more.iter().all(|name| own.contains(&name.as_str())), "{part}: {more:?}");
    }
    assert_eq!(made["server"]["networking"]["firewall"]["allowedTCPPorts"][0], 8080);
    let started = made["server"]["systemd"]["services"]["iglu"]["serviceConfig"]["ExecStart"].as_str().unwrap();
    assert!(started.contains("public_url") && !started.contains("storage"), "{started}");
}
