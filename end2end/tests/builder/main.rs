//! Builders, with real git, real Nix and nodes that are processes of their own.

#![allow(clippy::unwrap_used)]

mod attacks;
mod kubernetes;
mod nodes;
mod options;
mod pages;
mod probes;
mod queue;
mod runs;
mod terminal;
mod triggers;

use serde_json::Value;

/// `succeeded`, `failed` and the like.
fn state(run: &Value) -> &str {
    run["run"]["state"].as_str().unwrap()
}

fn reason(run: &Value) -> &str {
    run["run"]["reason"].as_str().unwrap()
}

/// The derivations of a run by name, with their states.
fn derivations(run: &Value) -> Vec<(&str, &str)> {
    let all = run["derivations"].as_array().unwrap().iter();
    let mut all: Vec<_> = all.map(|one| (one["name"].as_str().unwrap(), one["state"].as_str().unwrap())).collect();
    all.sort_unstable();
    all
}

/// The names of what a run pushed.
fn pushed(run: &Value) -> Vec<&str> {
    let all = run["pushed"].as_array().unwrap().iter();
    let mut all: Vec<_> = all.map(|one| one["path"].as_str().unwrap().split_once('-').unwrap().1).collect();
    all.sort_unstable();
    all
}

/// The path that a run pushed whose name ends so.
fn path(run: &Value, end: &str) -> String {
    let all = run["pushed"].as_array().unwrap().iter();
    let found = all.map(|one| one["path"].as_str().unwrap()).find(|path| path.ends_with(end)).unwrap();
    format!("/nix/store/{found}")
}
