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
    hasPrefix = start: text: builtins.substring 0 (builtins.stringLength start) text == start;
    types = { str = "text"; path = "path"; nullOr = kind: kind; };
  };
  pkgs = {
    formats.toml = _: { type = { }; generate = name: value: "/store/${name}#${builtins.toJSON value}"; };
    git = "git"; openssh = "openssh"; bubblewrap = "bubblewrap";
  };
  config.services.iglu = {
    enable = true; package = "/package"; environmentFile = "ENVIRONMENT"; openFirewall = true;
    settings = { public_url = "https://cache.example.org"; listen = "[::]:8080"; storage = null; database_url = "DATABASE"; };
    node = { enable = true; server = "https://cache.example.org"; secretFile = "SECRET"; capacity = 3; };
  };
  config.nix.package = "nix";
  module = import MODULE { inherit config lib pkgs; };
in {
  server = builtins.elemAt module.config 0;
  node = builtins.elemAt module.config 1;
  options = builtins.attrNames module.options.services.iglu;
  secrets = with module.options.services.iglu; [ environmentFile.type node.secretFile.type ];
}
"#;

/// The value of an expression, or what Nix says against it.
fn value(expression: &str) -> Result<Value, String> {
    let args = ["--eval", "--strict", "--json", "--expr", expression];
    let output = std::process::Command::new("nix-instantiate").args(args).output().unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The module with a database, a file of secrets for the server, and one for the node.
fn evaluated(database: &str, environment: &str, secret: &str) -> Value {
    let module = root().join("deploy/nixos/module.nix");
    let expression = EVALUATED.replace("MODULE", module.to_str().unwrap()).replace("DATABASE", database);
    value(&expression.replace("ENVIRONMENT", environment).replace("SECRET", secret)).unwrap()
}

fn usual() -> Value {
    evaluated("postgres://iglu@db:5432/iglu", "/run/secrets/iglu.env", "/run/secrets/node")
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
    let made = usual();
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
    // Commands on the data find the same file.
    let settings = made["server"]["environment"]["etc"]["iglu/iglu.toml"]["source"].as_str().unwrap();
    assert!(started.contains(&format!("--config {settings} ")), "{started}");
}

/// The Nix store is readable for everybody.
#[test]
fn secrets_stay_out_of_the_store() {
    let messages = |made: &Value| -> Vec<String> {
        let all = ["server", "node"].iter().flat_map(|part| made[part]["assertions"].as_array().unwrap());
        all.filter(|one| one["assertion"] == false).map(|one| one["message"].as_str().unwrap().to_owned()).collect()
    };
    let made = usual();
    assert_eq!(messages(&made), Vec::<String>::new());
    // A path would be copied there.
    assert_eq!(made["secrets"], serde_json::json!(["text", "text"]));
    let (file, stored) = ("/run/secrets/x", "/nix/store/x");
    for (database, environment, secret, about) in [
        ("postgres://iglu:password@db/iglu", file, file, "settings.database_url"),
        ("postgres://db/iglu?user=iglu&password=word", file, file, "settings.database_url"),
        ("postgres://db/iglu", stored, file, "environmentFile"),
        ("postgres:///iglu?host=/run/postgresql", file, stored, "node.secretFile"),
    ] {
        let told = messages(&evaluated(database, environment, secret));
        assert!(told.len() == 1 && told[0].contains(about), "{database} {environment} {secret}: {told:?}");
    }
}

/// What the package makes of the project's lock files, with as much of nixpkgs as it uses.
const PACKAGE: &str = r#"
let
  lib = rec {
    importTOML = file: builtins.fromTOML (builtins.readFile file);
    importJSON = file: builtins.fromJSON (builtins.readFile file);
    findFirst = good: default: list: let found = builtins.filter good list; in if found == [ ] then default else builtins.head found;
    splitString = by: text: builtins.filter builtins.isString (builtins.split by text);
    last = list: builtins.elemAt list (builtins.length list - 1);
    assertMsg = is_so: message: is_so || throw message;
    licenses.asl20 = "asl20";
    platforms.linux = [ ];
  };
  made = import PACKAGE {
    inherit lib;
    pkgs = { };
    rustPlatform.buildRustPackage = package: package;
    importNpmLock.buildNodeModules = wanted: { outPath = builtins.toJSON wanted.packageLock.packages; };
    lld = "lld"; nodejs = "nodejs"; binaryen = "binaryen"; cargo-leptos = "cargo-leptos";
    wasm-bindgen-cli = { version = "VERSION"; outPath = "bindgen"; };
    src = SOURCE;
  };
in { inherit (made) preBuild buildPhase version; }
"#;

#[test]
fn the_package_knows_where_its_parts_come_from() {
    let locked = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let version = locked.split("name = \"wasm-bindgen\"\nversion = \"").nth(1).unwrap().split('"').next().unwrap();
    let package = root().join("deploy/nixos/package.nix");
    let expression = PACKAGE.replace("PACKAGE", package.to_str().unwrap()).replace("SOURCE", root().to_str().unwrap());
    let made = value(&expression.replace("VERSION", version)).unwrap();
    let line = made["preBuild"].as_str().unwrap().lines().next().unwrap().to_owned();
    let modules = line.trim_start_matches("ln -s ").split("/node_modules node_modules").next().unwrap();
    let modules: Value = serde_json::from_str(modules).unwrap();
    let of = |place: &str| modules[place]["resolved"].as_str().unwrap().to_owned();
    for (place, module) in modules.as_object().unwrap().iter().filter(|(place, _)| !place.is_empty()) {
        let end = format!("-{}.tgz", module["version"].as_str().unwrap());
        assert!(of(place).starts_with("https://registry.npmjs.org/") && of(place).ends_with(&end), "{place}");
        assert!(module["integrity"].is_string(), "{place}");
    }
    assert!(of("node_modules/@tailwindcss/cli").contains("/@tailwindcss/cli/-/cli-"));
    assert!(of("node_modules/lightningcss/node_modules/detect-libc").contains("/detect-libc/-/detect-libc-"));
    assert!(made["buildPhase"].as_str().unwrap().contains("make SHELL=\"$SHELL\" "));
    let told = value(&expression.replace("VERSION", "0.0.1")).unwrap_err();
    assert!(told.contains(&format!("wasm-bindgen-cli is 0.0.1 here, and Cargo.lock has {version}")), "{told}");
}
