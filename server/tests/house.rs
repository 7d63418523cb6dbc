//! The rules of the house that a compiler does not check: which crate may know which, and what may stand where.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every arrow between the workspace's packages that there may be; docs/ARCHITECTURE.md draws them.
const ARROWS: &[(&str, &str)] = &[
    ("iglu-api", "nix-compat"),
    ("iglu-app", "iglu-api"),
    ("iglu-app", "iglu-core"),
    ("iglu-bench", "iglu-end2end"),
    ("iglu-builder", "iglu-api"),
    ("iglu-builder", "nix-compat"),
    ("iglu-core", "iglu-api"),
    ("iglu-core", "nix-compat"),
    ("iglu-end2end", "nix-compat"),
    ("iglu-frontend", "iglu-app"),
    ("iglu-import", "iglu-end2end"),
    ("iglu-import", "nix-compat"),
    ("iglu-server", "iglu-api"),
    ("iglu-server", "iglu-app"),
    ("iglu-server", "iglu-builder"),
    ("iglu-server", "iglu-core"),
    ("iglu-server", "iglu-import"),
    ("iglu-server", "nix-compat"),
];

#[test]
fn arrows_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let mut found = BTreeSet::new();
    for package in packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            if ours.contains(name) {
                found.insert((package["name"].as_str().unwrap(), name));
            }
        }
    }
    let allowed: BTreeSet<(&str, &str)> = ARROWS.iter().copied().collect();
    assert_eq!(found, allowed);
}

/// The Rust files below a folder with their text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    assert!(!found.is_empty(), "{folder} has no sources");
    found
}

#[track_caller]
fn only_in(folders: &[&str], needle: &str, may: impl Fn(&Path) -> bool) {
    for (path, text) in folders.iter().flat_map(|folder| sources(folder)) {
        assert!(may(&path) || !text.contains(needle), "{} contains {needle:?}", path.display());
    }
}

#[test]
fn sql_stands_in_the_database_room_only() {
    only_in(&["crates/core/src", "app/src", "server/src", "crates/api/src"], "sqlx::", |path| {
        path.components().any(|part| part.as_os_str() == "db") || path.ends_with("core/src/error.rs")
    });
    only_in(&["crates/import/src"], "SELECT ", |path| path.ends_with("rows.rs"));
}

/// Leptos does not escape the children of a text area when it renders on the server; the kit's part is the one place for it.
#[test]
fn text_areas_come_from_the_kit() {
    only_in(&["app/src"], "<textarea", |path| path.components().any(|part| part.as_os_str() == "ui"));
}

#[test]
fn every_module_says_what_it_is() {
    for folder in [
        "crates/core/src",
        "crates/api/src",
        "crates/import/src",
        "crates/nix-compat/src",
        "app/src",
        "server/src",
        "end2end/src",
        "bench/src",
    ] {
        for (path, text) in sources(folder) {
            assert!(text.starts_with("//!"), "{} does not begin with its own description", path.display());
        }
    }
}

/// Every route and every server function, with a test that goes through it. A new one needs a line here, and a test.
const DOORS: &[(&str, &str)] = &[
    ("/.well-known/security.txt", "whom_to_tell_of_a_hole"),
    ("/api/v1/cache/{cache}", "cache_record_for_each_caller"),
    ("/api/v1/cache/{cache}/narinfo", "bulk_query_of_every_kind"),
    ("/api/v1/cache/{cache}/multipart-nar", "anonymous_and_readers_cannot_begin_an_upload"),
    ("/api/v1/cache/{cache}/multipart-nar/{id}", "upload_urls_are_capabilities"),
    ("/api/v1/cache/{cache}/multipart-nar/{id}/complete", "cachix_claims_that_are_not_true"),
    ("/api/v1/cache/{cache}/multipart-nar/{id}/abort", "abort_is_always_answered"),
    ("/api/v1/cache/{cache}/key", "a_cache_that_clients_sign_takes_nothing_unsigned"),
    ("/api/v1/cache/{cache}/pin", "cachix_pins_of_all_four_forms"),
    ("/api/v1/cache/{cache}/contents", "scripts_get_json_urls_and_contents"),
    ("/api/v1/cache/{cache}/nar", "each_release_pushes_a_closure"),
    ("/api/v1/cache/{cache}/{narinfo}", "each_release_pushes_a_closure"),
    ("/api/v1/user", "scripts_get_json_urls_and_contents"),
    ("/ws", "cachix_deploy_is_not_there"),
    ("/ws-deployment", "cachix_deploy_is_not_there"),
    ("/api/v1/audit", "scripts_do_what_pages_do"),
    ("/api/v1/caches", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/keys", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/keys/{name}", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/limits", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/damaged", "verbs_at_a_server"),
    ("/api/v1/caches/{cache}/paths", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/paths/remove", "verbs_at_a_server"),
    ("/api/v1/caches/{cache}/paths/{hash}", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/paths/{hash}/files", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/pins", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/pins/{name}", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/removals", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/removals/{id}/undo", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/retention", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/retention/preview", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/statistics", "scripts_do_what_pages_do"),
    ("/api/v1/caches/{cache}/why", "scripts_do_what_pages_do"),
    ("/api/v1/instance", "scripts_do_what_pages_do"),
    ("/api/v1/builders", "what_is_built_may_be_a_file_a_command_or_a_flake_in_a_folder"),
    ("/api/v1/builders/{name}", "a_builder_that_is_off_starts_nothing_and_two_runs_wait_for_each_other"),
    ("/api/v1/builders/{name}/runs", "builders_runs_and_nodes_at_a_terminal"),
    ("/api/v1/builders/{name}/webhook", "each_forge_calls_and_is_heard"),
    ("/api/v1/builders/{name}/webhook/renew", "each_forge_calls_and_is_heard"),
    ("/api/v1/builders/{name}/webhook/deliveries/{id}/repeat", "each_forge_calls_and_is_heard"),
    ("/hooks/{builder}", "each_forge_calls_and_is_heard"),
    ("/runs/{id}/log.txt", "logs_are_streamed_searched_and_downloaded"),
    ("/runs/{id}/news", "logs_are_streamed_searched_and_downloaded"),
    ("/api/v1/runs/{id}/find", "logs_are_streamed_searched_and_downloaded"),
    ("builder_list", "builders_runs_and_nodes_on_their_pages"),
    ("builder_get", "builders_runs_and_nodes_on_their_pages"),
    ("builder_probe", "a_repository_is_looked_at_before_there_is_a_builder"),
    ("builder_probed", "a_repository_is_looked_at_before_there_is_a_builder"),
    ("/api/v1/probes", "a_repository_is_looked_at_before_there_is_a_builder"),
    ("/api/v1/probes/{id}", "a_repository_is_looked_at_before_there_is_a_builder"),
    ("/api/v1/node/probe", "a_repository_is_looked_at_before_there_is_a_builder"),
    ("/api/v1/node/probes/{id}", "a_repository_is_looked_at_before_there_is_a_builder"),
    ("builder_caches", "builders_runs_and_nodes_on_their_pages"),
    ("builder_create", "builders_runs_and_nodes_on_their_pages"),
    ("builder_change", "builders_runs_and_nodes_on_their_pages"),
    ("builder_switch", "builders_runs_and_nodes_on_their_pages"),
    ("builder_remove", "builders_runs_and_nodes_on_their_pages"),
    ("webhook_get", "builders_runs_and_nodes_on_their_pages"),
    ("webhook_renew", "builders_runs_and_nodes_on_their_pages"),
    ("delivery_repeat", "builders_runs_and_nodes_on_their_pages"),
    ("run_page", "builders_runs_and_nodes_on_their_pages"),
    ("run_get", "builders_runs_and_nodes_on_their_pages"),
    ("run_log", "builders_runs_and_nodes_on_their_pages"),
    ("run_list", "older_runs_are_a_page_further"),
    ("run_find", "builders_runs_and_nodes_on_their_pages"),
    ("run_start", "builders_runs_and_nodes_on_their_pages"),
    ("run_cancel", "builders_runs_and_nodes_on_their_pages"),
    ("queue_get", "builders_runs_and_nodes_on_their_pages"),
    ("node_list", "builders_runs_and_nodes_on_their_pages"),
    ("node_create", "builders_runs_and_nodes_on_their_pages"),
    ("node_drain", "builders_runs_and_nodes_on_their_pages"),
    ("node_remove", "builders_runs_and_nodes_on_their_pages"),
    ("/api/v1/queue", "builders_runs_and_nodes_at_a_terminal"),
    ("/api/v1/runs/{id}", "a_run_fills_the_cache"),
    ("/api/v1/runs/{id}/log", "lines_come_as_they_are_written_and_cancelling_ends_everything"),
    ("/api/v1/runs/{id}/cancel", "lines_come_as_they_are_written_and_cancelling_ends_everything"),
    ("/api/v1/nodes", "nodes_are_drained_and_removed"),
    ("/api/v1/nodes/{name}", "nodes_are_drained_and_removed"),
    ("/api/v1/node/hello", "two_nodes_share_the_work"),
    ("/api/v1/node/claim", "two_nodes_share_the_work"),
    ("/api/v1/node/runs/{id}/report", "a_network_that_is_away_for_a_minute_loses_nothing"),
    ("/api/v1/node/runs/{id}/failed-before", "a_run_fills_the_cache"),
    ("/api/v1/caches/{cache}/audit", "scripts_manage_people_and_tokens"),
    ("/api/v1/caches/{cache}/invitations", "scripts_manage_people_and_tokens"),
    ("/api/v1/caches/{cache}/members", "scripts_manage_people_and_tokens"),
    ("/api/v1/caches/{cache}/members/{name}", "scripts_manage_people_and_tokens"),
    ("/api/v1/invitations", "scripts_manage_people_and_tokens"),
    ("/api/v1/invitations/{id}", "scripts_manage_people_and_tokens"),
    ("/api/v1/tokens", "scripts_manage_people_and_tokens"),
    ("/api/v1/tokens/{id}", "scripts_manage_people_and_tokens"),
    ("/api/v1/users", "scripts_manage_people_and_tokens"),
    ("/api/v1/users/{name}", "scripts_manage_people_and_tokens"),
    ("/api/v1/users/{name}/password-link", "scripts_manage_people_and_tokens"),
    ("member_list", "people_are_invited_and_join_on_their_pages"),
    ("member_set", "people_are_invited_and_join_on_their_pages"),
    ("member_remove", "people_are_invited_and_join_on_their_pages"),
    ("member_invite", "people_are_invited_and_join_on_their_pages"),
    ("cache_activity", "people_are_invited_and_join_on_their_pages"),
    ("invitation_revoke", "people_are_invited_and_join_on_their_pages"),
    ("invitation_get", "people_are_invited_and_join_on_their_pages"),
    ("invitation_accept_new", "people_are_invited_and_join_on_their_pages"),
    ("invitation_accept", "people_are_invited_and_join_on_their_pages"),
    ("user_list", "administrators_manage_users_on_their_page"),
    ("user_invite", "administrators_manage_users_on_their_page"),
    ("user_password_link", "administrators_manage_users_on_their_page"),
    ("user_change", "administrators_manage_users_on_their_page"),
    ("user_remove", "administrators_manage_users_on_their_page"),
    ("invitation_accept_password", "administrators_manage_users_on_their_page"),
    ("/api/v1/openapi.json", "the_api_describes_itself"),
    ("/docs", "documents_are_pages"),
    ("/docs/", "documents_are_pages"),
    ("/docs/{*page}", "documents_are_pages"),
    ("/docs/api", "the_api_describes_itself"),
    ("/api/{*unknown}", "unknown_routes_and_wrong_methods"),
    ("/_api/v1/cache-config/{cache}", "attic_cache_configure"),
    ("/_api/v1/get-missing-paths", "attic_push_of_500_paths"),
    ("/_api/v1/upload-path", "attic_push_of_500_paths"),
    ("/_api/", "attic_refusal_404"),
    ("/_api/{*unknown}", "attic_refusal_404"),
    ("/upload/{id}/{number}", "upload_part_with_another_md5_or_cut_short_can_be_sent_again"),
    ("/events", "live_pages_hear_of_pushes"),
    ("/admin/audit.csv", "administrators_see_the_server_and_who_changed_what"),
    ("cache_try", "a_cache_is_tried_out_as_its_users_would"),
    ("/caches/{name}/files/{hash}", "a_path_has_a_page_with_its_files"),
    ("/caches/{name}/files/{hash}/{*path}", "a_path_has_a_page_with_its_files"),
    ("/caches/{name}/log/{derivation}", "a_path_has_a_page_with_its_files"),
    ("/live", "the_server_ends_in_order_and_keeps_its_counts"),
    ("/ready", "metrics_count_what_happened"),
    ("/serving", "the_server_ends_in_order_and_keeps_its_counts"),
    ("/metrics", "metrics_count_what_happened"),
    ("/assets/{version}/{*file}", "pages_have_the_right_status_and_headers"),
    ("/{cache}/nix-cache-info", "nix_01_cache_info_is_three_lines"),
    ("/{cache}/{hash}.narinfo", "narinfo_is_canonical_and_cacheable"),
    ("/{cache}/nar/{file}", "nars_come_in_ranges_and_never_encoded"),
    ("/{cache}/{hash}.ls", "nix_33_listings_tell_what_is_in_a_nar"),
    ("/{cache}/narurl/{file}", "scripts_get_json_urls_and_contents"),
    ("/{cache}/log/{derivation}", "build_logs_come_back_in_each_coding"),
    ("/{cache}/realisations/{id}.doi", "realisations_are_kept_and_the_first_stays"),
    ("/{cache}/debuginfo/{id}", "debug_info_is_made_from_the_nars"),
    ("/{cache}/serve/{hash}/{path}", "single_files_are_served_harmlessly"),
    ("/{cache}/attic-cache-info", "attic_cache_info"),
    ("audit_list", "administrators_see_the_server_and_who_changed_what"),
    ("instance_get", "administrators_see_the_server_and_who_changed_what"),
    ("cache_create", "forms_work_and_other_sites_cannot_post"),
    ("cache_get", "the_server_ends_in_order_and_keeps_its_counts"),
    ("cache_list", "forms_work_and_other_sites_cannot_post"),
    ("cache_change", "settings_change_and_caches_end_on_their_page"),
    ("cache_remove", "settings_change_and_caches_end_on_their_page"),
    ("limits_get", "settings_change_and_caches_end_on_their_page"),
    ("limits_set", "settings_change_and_caches_end_on_their_page"),
    ("path_find", "a_path_has_a_page_with_its_files"),
    ("path_folder", "a_path_has_a_page_with_its_files"),
    ("path_get", "a_path_has_a_page_with_its_files"),
    ("path_remove", "rules_are_previewed_saved_and_run_on_their_page"),
    ("path_why", "why_a_path_is_not_substituted"),
    ("pin_create", "pins_are_managed_on_their_page"),
    ("pin_list", "pins_are_managed_on_their_page"),
    ("pin_remove", "pins_are_managed_on_their_page"),
    ("removal_undo", "rules_are_previewed_saved_and_run_on_their_page"),
    ("retention_get", "rules_are_previewed_saved_and_run_on_their_page"),
    ("retention_run", "rules_are_previewed_saved_and_run_on_their_page"),
    ("retention_set", "rules_are_previewed_saved_and_run_on_their_page"),
    ("first_push_get", "a_set_up_link_is_good_once"),
    ("frame_get", "forms_work_and_other_sites_cannot_post"),
    ("key_add", "keys_are_managed_on_their_page"),
    ("key_import", "keys_are_managed_on_their_page"),
    ("key_list", "keys_are_managed_on_their_page"),
    ("key_register", "keys_are_managed_on_their_page"),
    ("key_retire", "keys_are_managed_on_their_page"),
    ("me_get", "forms_work_and_other_sites_cannot_post"),
    ("overview_get", "pages_have_the_right_status_and_headers"),
    ("password_change", "logging_in_and_out_and_being_kept_out"),
    ("path_list", "forms_work_and_other_sites_cannot_post"),
    ("session_create", "logging_in_and_out_and_being_kept_out"),
    ("session_end", "logging_in_and_out_and_being_kept_out"),
    ("session_list", "forms_work_and_other_sites_cannot_post"),
    ("session_revoke", "forms_work_and_other_sites_cannot_post"),
    ("setup_finish", "a_set_up_link_is_good_once"),
    ("setup_get", "a_set_up_link_is_good_once"),
    ("statistics_get", "statistics_tell_what_happened"),
    ("token_create", "forms_work_and_other_sites_cannot_post"),
    ("token_list", "forms_work_and_other_sites_cannot_post"),
    ("token_revoke", "forms_work_and_other_sites_cannot_post"),
];

#[test]
fn every_door_has_a_test() {
    let between = |text: &str, before: &str, after: &str| -> Vec<String> {
        text.split(before)
            .skip(1)
            .filter_map(|rest| rest.split_once(after))
            .map(|(found, _)| found.to_owned())
            .collect()
    };
    let mut doors = BTreeSet::new();
    for (_, text) in sources("server/src/http") {
        doors.extend(between(&text, ".route(\"", "\""));
        doors.extend(between(&text, ", path = \"", "\""));
    }
    for (path, text) in sources("server/src") {
        if path.ends_with("metrics.rs") {
            doors.extend(between(&text, "=> \"/{cache}", "\"").into_iter().map(|rest| format!("/{{cache}}{rest}")));
        }
    }
    for (_, text) in sources("app/src/calls") {
        for function in text.split("#[server").skip(1) {
            doors.extend(between(function, "pub async fn ", "(").into_iter().take(1));
        }
    }
    let known: BTreeSet<String> = DOORS.iter().map(|(door, _)| (*door).to_owned()).collect();
    assert_eq!(doors, known);
    let tests: String = sources("end2end/tests").into_iter().map(|(_, text)| text).collect();
    for (door, test) in DOORS {
        assert!(tests.contains(&format!("fn {test}(")), "{door}: there is no test {test}");
    }
}

/// The id in each `Check::new("…"`, which may be on a line of its own.
fn check_ids(text: &str) -> Vec<String> {
    let id = |rest: &str| rest.trim_start().strip_prefix('"')?.split('"').next().map(str::to_owned);
    text.split("Check::new(").skip(1).filter_map(id).collect()
}

/// The table is made by `make conformance`; a check that is not in it has never been made.
#[test]
fn every_conformance_check_stands_in_the_table() {
    let table = fs::read_to_string(root().join("docs/conformance.md")).unwrap();
    let mut known = BTreeSet::new();
    for (path, text) in sources("end2end/tests") {
        let ids = check_ids(&text);
        if path.parent().is_some_and(|folder| folder.ends_with("conformance")) {
            assert_eq!(
                text.matches("#[tokio::test").count(),
                ids.len(),
                "{} has a test without a check",
                path.display()
            );
        }
        for id in ids {
            assert!(table.contains(&format!("| {id} |")), "{id} is not in docs/conformance.md: run make conformance");
            assert!(known.insert(id.clone()), "there are two checks {id}");
        }
    }
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| check ")) {
        let id = row.split(" | ").next().unwrap().trim_start_matches("| ");
        assert!(known.contains(id), "docs/conformance.md tells of {id}, which is no check");
    }
}
