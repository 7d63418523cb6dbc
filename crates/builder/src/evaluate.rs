//! From what a builder names to derivations.

use crate::{
    build::in_short,
    nixlog::plain,
    process::capture,
    report::Reporter,
    run::Failure,
    sandbox::{Room, Sandbox},
};
use iglu_api::builder::What;

/// Kinds of flake outputs that are there for each system.
const BY_SYSTEM: [&str; 4] = ["packages", "checks", "devShells", "legacyPackages"];
/// Those of them that are listed; the packages of a whole distribution are not.
const OFFERED: [&str; 3] = ["packages", "checks", "devShells"];
const SYSTEMS: &str = "nixosConfigurations";

/// An attribute and its derivation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As pins are named by it.
    pub attribute: String,
    /// With the store's folder.
    pub drv: String,
}

/// Evaluates what is to be built. The first error ends it, with the words that Nix has for it.
pub async fn evaluate(
    sandbox: &Sandbox,
    room: &Room,
    what: &What,
    systems: &[String],
    reporter: &Reporter,
) -> Result<Vec<Wanted>, Failure> {
    let own = &sandbox.systems()[..1];
    let systems = if systems.is_empty() { own } else { systems };
    let mut wanted = Vec::new();
    match what {
        What::Flake { folder, outputs } => {
            let flake = flake_in(folder);
            for attribute in attributes(sandbox, room, &flake, outputs, systems, reporter).await? {
                let installable = format!("{flake}#{attribute}");
                let drv = nix(sandbox, room, &["path-info", "--derivation", &installable], reporter).await?;
                let drv = drv.lines().next().unwrap_or_default().trim().to_owned();
                wanted.push(Wanted { attribute, drv });
            }
        }
        What::File { file, attributes } => {
            let file = format!("/build/src/{file}");
            let mut names: Vec<&str> = attributes.iter().map(String::as_str).collect();
            if names.is_empty() {
                names.push("");
            }
            for name in names {
                let mut args = vec![file.as_str()];
                if !name.is_empty() {
                    args.extend(["-A", name]);
                }
                let told = run(sandbox, room, "nix-instantiate", &args, reporter).await?;
                let drvs = told.lines().map(|line| line.split('!').next().unwrap_or_default().trim());
                let drvs = drvs.filter(|line| line.ends_with(".drv"));
                let attribute = if name.is_empty() { "default".to_owned() } else { name.to_owned() };
                wanted.extend(drvs.map(|drv| Wanted { attribute: attribute.clone(), drv: drv.to_owned() }));
            }
        }
        What::Command { .. } => {}
    }
    match wanted.iter().find(|one| !one.drv.starts_with("/nix/store/") || !one.drv.ends_with(".drv")) {
        Some(bad) => Err(Failure::Failed(format!("{} is no derivation", bad.attribute))),
        None => Ok(wanted),
    }
}

/// Lists the attributes of the flake in a folder of the checkout that can be built on this node, without building or evaluating them.
pub async fn offered(
    sandbox: &Sandbox,
    room: &Room,
    folder: &str,
    reporter: &Reporter,
) -> Result<Vec<String>, Failure> {
    let systems: Vec<String> = sandbox.systems().iter().map(|system| format!("\"{system}\"")).collect();
    let choose = format!(
        "outputs: let
           named = kind: system: map (name: [ kind system name ]) (builtins.attrNames (outputs.${{kind}}.${{system}} or {{ }}));
           all = f: list: builtins.concatLists (map f list);
         in all (kind: all (named kind) [ {} ]) [ {} ]
            ++ map (name: [ \"{SYSTEMS}\" name ]) (builtins.attrNames (outputs.{SYSTEMS} or {{ }}))",
        systems.join(" "),
        OFFERED.map(|kind| format!("\"{kind}\"")).join(" "),
    );
    let expression = format!("({choose}) (builtins.getFlake \"{}\").outputs", flake_in(folder));
    let told = nix(sandbox, room, &["eval", "--json", "--impure", "--expr", &expression], reporter).await?;
    let paths: Vec<Vec<String>> =
        serde_json::from_str(&told).map_err(|_| Failure::Failed("the flake has no names".to_owned()))?;
    Ok(paths.iter().map(|path| path.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(".")).collect())
}

/// The flake in a folder of the checkout, as Nix names it.
fn flake_in(folder: &str) -> String {
    let folder = if folder.is_empty() { String::new() } else { format!("&dir={folder}") };
    format!("git+file:///build/src?shallow=1{folder}")
}

/// The full attributes that the outputs of a flake stand for.
async fn attributes(
    sandbox: &Sandbox,
    room: &Room,
    flake: &str,
    outputs: &[String],
    systems: &[String],
    reporter: &Reporter,
) -> Result<Vec<String>, Failure> {
    let names = async |attribute: &str| -> Result<Vec<String>, Failure> {
        let installable = format!("{flake}#{attribute}");
        let told =
            nix(sandbox, room, &["eval", "--json", &installable, "--apply", "builtins.attrNames"], reporter).await?;
        serde_json::from_str(&told).map_err(|_| Failure::Failed(format!("{attribute} has no names")))
    };
    let mut all = Vec::new();
    for output in outputs {
        let first = output.split('.').next().unwrap_or_default();
        if BY_SYSTEM.contains(&output.as_str()) {
            for system in systems {
                let within = format!("{output}.{system}");
                all.extend(names(&within).await?.iter().map(|name| format!("{within}.{}", quoted(name))));
            }
        } else if output == SYSTEMS {
            let hosts = names(SYSTEMS).await?;
            all.extend(hosts.iter().map(|name| format!("{SYSTEMS}.{}.config.system.build.toplevel", quoted(name))));
        } else if BY_SYSTEM.contains(&first) || first == SYSTEMS {
            all.push(output.clone());
        } else {
            all.extend(systems.iter().map(|system| format!("packages.{system}.{output}")));
        }
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|attribute| seen.insert(attribute.clone()));
    Ok(all)
}

/// A name as a part of an attribute path.
fn quoted(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace(['"', '\\'], "")) }
}

async fn nix(sandbox: &Sandbox, room: &Room, args: &[&str], reporter: &Reporter) -> Result<String, Failure> {
    run(sandbox, room, "nix", args, reporter).await
}

async fn run(
    sandbox: &Sandbox,
    room: &Room,
    program: &str,
    args: &[&str],
    reporter: &Reporter,
) -> Result<String, Failure> {
    let told = capture(sandbox, room, program, args, Some(reporter)).await?;
    if told.status.success() {
        return Ok(told.stdout);
    }
    let said = plain(&told.stderr);
    let error = said.find("error:").map_or(said.as_str(), |at| &said[at..]);
    Err(Failure::Failed(format!("evaluation: {}", in_short(error))))
}
