//! The texts that people copy: real address, cache and key, so that nothing is left to edit by hand but a token.

use iglu_api::cache::CacheDetail;

const NIXOS_ORG: &str = "https://cache.nixos.org";
const NIXOS_ORG_KEY: &str = "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=";
/// Stands where a token goes that the page does not know.
pub const TOKEN: &str = "YOUR_TOKEN";

/// The host of a URL without its port: what curl, and so Nix, compares netrc's `machine` with.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// Whether the substituter lies below a path. cachix then writes a netrc entry that no client matches.
fn has_path(uri: &str) -> bool {
    uri.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
}

/// Whether pulling needs a netrc line that cachix does not write by itself.
pub fn needs_netrc_by_hand(cache: &CacheDetail) -> bool {
    !cache.summary.visibility.is_public() && (has_path(&cache.uri) || cache.uri.matches(':').count() > 1)
}

pub fn cachix_use(cache: &CacheDetail) -> String {
    let token =
        if cache.summary.visibility.is_public() { String::new() } else { format!("cachix authtoken {TOKEN}\n") };
    format!("cachix config set hostname {}\n{token}cachix use {}\n", cache.public_url, cache.summary.name)
}

pub fn cachix_push(cache: &CacheDetail, token: &str) -> String {
    let (url, name) = (&cache.public_url, &cache.summary.name);
    format!("cachix config set hostname {url}\ncachix authtoken {token}\ncachix push {name} ./result\n")
}

/// Logs in, uses, pushes: attic keeps servers by a name of the user's own.
pub fn attic(cache: &CacheDetail, token: &str) -> String {
    let (url, name) = (&cache.public_url, &cache.summary.name);
    format!("attic login iglu {url}/ {token}\nattic use iglu:{name}\nattic push iglu:{name} ./result\n")
}

pub fn nix_conf(cache: &CacheDetail) -> String {
    let keys = cache.public_keys.join(" ");
    format!("substituters = {NIXOS_ORG} {}\ntrusted-public-keys = {NIXOS_ORG_KEY} {keys}\n", cache.uri)
}

fn nix_list(items: &[String], indent: &str) -> String {
    items.iter().map(|item| format!("{indent}\"{item}\"\n")).collect()
}

pub fn flake(cache: &CacheDetail) -> String {
    format!(
        "nixConfig = {{\n  extra-substituters = [\n    \"{}\"\n  ];\n  extra-trusted-public-keys = [\n{}  ];\n}};\n",
        cache.uri,
        nix_list(&cache.public_keys, "    "),
    )
}

pub fn nixos(cache: &CacheDetail) -> String {
    format!(
        "{{\n  nix.settings = {{\n    substituters = [\n      \"{}\"\n    ];\n    trusted-public-keys = [\n{}    ];\n  }};\n}}\n",
        cache.uri,
        nix_list(&cache.public_keys, "      "),
    )
}

pub fn netrc(cache: &CacheDetail, token: &str) -> String {
    format!("machine {}\nlogin iglu\npassword {token}\n", host(&cache.uri))
}

pub fn nix_copy(cache: &CacheDetail, token: &str) -> String {
    let (host, uri) = (host(&cache.uri), &cache.uri);
    format!(
        "mkdir -p ~/.config/nix\n\
         (umask 077; echo 'machine {host} login iglu password {token}' >> ~/.config/nix/netrc)\n\
         nix --extra-experimental-features nix-command copy \\\n  \
         --netrc-file ~/.config/nix/netrc \\\n  \
         --to '{uri}?compression=zstd' ./result\n"
    )
}

pub fn github(cache: &CacheDetail) -> String {
    let (url, name) = (&cache.public_url, &cache.summary.name);
    let netrc = if needs_netrc_by_hand(cache) {
        let machine = host(&cache.uri);
        format!(
            "      - run: echo \"machine {machine} login iglu password $TOKEN\" | sudo tee -a /etc/nix/netrc > /dev/null\n        \
             env:\n          TOKEN: ${{{{ secrets.IGLU_TOKEN }}}}\n"
        )
    } else {
        String::new()
    };
    format!(
        "name: build\n\
         on: [push]\n\
         jobs:\n  \
         build:\n    \
         runs-on: ubuntu-latest\n    \
         steps:\n      \
         - uses: actions/checkout@v5\n      \
         - uses: cachix/install-nix-action@v31\n      \
         # The action looks for the client first, and has no input for the server's address.\n      \
         - run: |\n          \
         nix profile install nixpkgs#cachix\n          \
         cachix config set hostname {url}\n{netrc}      \
         - uses: cachix/cachix-action@v16\n        \
         with:\n          \
         name: {name}\n          \
         authToken: ${{{{ secrets.IGLU_TOKEN }}}}\n      \
         - run: nix build\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use iglu_api::{
        CacheName, Timestamp,
        cache::{CacheSummary, Permission, PreferredCompression, Traffic, Visibility},
    };

    fn cache(uri: &str, visibility: Visibility) -> CacheDetail {
        CacheDetail {
            summary: CacheSummary {
                name: CacheName::parse("main").unwrap(),
                visibility,
                priority: 41,
                created_at: Timestamp(0),
                path_count: 0,
                stored_bytes: 0,
                last_push_at: None,
                traffic: Traffic::default(),
            },
            uri: uri.to_owned(),
            public_url: "https://cache.example.org:8443".to_owned(),
            public_keys: vec!["main-1:AAAA".to_owned(), "main-2:BBBB".to_owned()],
            signing: iglu_api::cache::Signing::Server,
            is_lenient: false,
            client_filter_keys: Vec::new(),
            upstreams: Vec::new(),
            networks: Vec::new(),
            compression: PreferredCompression::Zstd,
            permission: Some(Permission::Push),
        }
    }

    #[test]
    fn the_machine_of_netrc_has_no_port() {
        for (uri, machine) in [
            ("https://cache.example.org:8443/main", "cache.example.org"),
            ("http://main.localhost", "main.localhost"),
            ("http://[::1]:8080/main", "::1"),
        ] {
            assert_eq!(
                netrc(&cache(uri, Visibility::Private), "t"),
                format!("machine {machine}\nlogin iglu\npassword t\n")
            );
        }
    }

    #[test]
    fn nix_conf_trusts_every_key() {
        assert_eq!(
            nix_conf(&cache("https://c.example/main", Visibility::Public)),
            "substituters = https://cache.nixos.org https://c.example/main\n\
             trusted-public-keys = cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY= main-1:AAAA main-2:BBBB\n"
        );
    }

    #[test]
    fn nix_texts_are_lists() {
        let flake = flake(&cache("https://c.example/main", Visibility::Public));
        assert_eq!(
            flake,
            "nixConfig = {\n  extra-substituters = [\n    \"https://c.example/main\"\n  ];\n  extra-trusted-public-keys = [\n    \
             \"main-1:AAAA\"\n    \"main-2:BBBB\"\n  ];\n};\n"
        );
    }

    #[test]
    fn cachix_is_pointed_here_first_and_a_private_cache_needs_a_token() {
        assert_eq!(
            cachix_use(&cache("https://c.example/main", Visibility::Public)),
            "cachix config set hostname https://cache.example.org:8443\ncachix use main\n"
        );
        assert!(
            cachix_use(&cache("https://c.example/main", Visibility::Private)).contains("cachix authtoken YOUR_TOKEN\n")
        );
    }

    #[test]
    fn the_workflow_is_yaml_with_the_address_set_before_the_action() {
        let text = github(&cache("https://c.example/main", Visibility::Private));
        let set = text.find("cachix config set hostname https://cache.example.org:8443\n").unwrap();
        assert!(set < text.find("cachix/cachix-action").unwrap());
        assert!(text.contains("authToken: ${{ secrets.IGLU_TOKEN }}\n"));
        assert!(text.contains("machine c.example login iglu"));
        assert!(!github(&cache("https://main.c.example", Visibility::Private)).contains("netrc"));
        assert!(!text.contains('\t') && text.lines().all(|line| line == line.trim_end()));
    }
}
