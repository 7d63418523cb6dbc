//! The documents of this version, as pages: what `docs/` has, rendered by the server. Nothing is looked up and nobody need be
//! logged in.

mod markdown;

use axum::{
    Router,
    body::Body,
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{Redirect, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use iglu_app::shell::THEME_SCRIPT;
use markdown::Rendered;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fmt::Write, sync::LazyLock};

/// Where they are.
const ROOT: &str = "/docs";
/// The page that names all others, and in which order.
const INDEX: &str = "index";
/// The description of the REST API, which is made from the code.
pub const API: &str = "/docs/api";

#[derive(RustEmbed)]
#[folder = "../docs"]
#[include = "*.md"]
struct Files;

/// Every document by its address below [`ROOT`]: `operations/storage`.
static PAGES: LazyLock<BTreeMap<String, Rendered>> = LazyLock::new(|| {
    let read = |file: &str| Some(String::from_utf8_lossy(&Files::get(file)?.data).into_owned());
    let names = Files::iter();
    names
        .filter_map(|file| Some((file.strip_suffix(".md")?.to_owned(), markdown::render(&file, &read(&file)?))))
        .collect()
});

/// Nothing is asked for but the site's own style, and nothing runs but what puts the chosen theme on the page.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let script = STANDARD.encode(Sha256::digest(THEME_SCRIPT));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'self'; font-src 'self'; img-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// `style` is the address of the site's style sheet.
pub fn router(style: String) -> Router {
    let index = style.clone();
    Router::new()
        .route("/docs", get(async move || page(INDEX, &index)))
        .route("/docs/", get(async || Redirect::permanent(ROOT)))
        .route("/docs/{*page}", get(async move |Path(name): Path<String>| page(&name, &style)))
}

fn page(name: &str, style: &str) -> Response {
    // Who follows a link of the files themselves comes to the same page.
    let name = name.strip_suffix(".md").unwrap_or(name);
    match PAGES.get(name) {
        Some(page) => answer(StatusCode::OK, &framed(name, &page.title, &page.html, style)),
        None => {
            let html = "<h1>Not found</h1><p>There is no such page here. What there is stands in the list.</p>";
            answer(StatusCode::NOT_FOUND, &framed(name, "Not found", html, style))
        }
    }
}

/// A whole page.
pub fn answer(status: StatusCode, html: &str) -> Response {
    let mut response = Response::new(Body::from(html.to_owned()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// What a document, or the description of the API, looks like: the list of all at the side. `content` is HTML.
pub fn framed(name: &str, title: &str, content: &str, style: &str) -> String {
    let mut list = String::new();
    for (group, entries) in PAGES.get(INDEX).map(|index| &index.groups[..]).unwrap_or_default() {
        let _ = write!(list, "<p>{}</p><ul>", escaped(group));
        for (word, address) in entries {
            let current = if *address == format!("{ROOT}/{name}") { " aria-current=\"page\"" } else { "" };
            let _ = write!(list, "<li><a href=\"{}\"{current}>{}</a></li>", escaped(address), escaped(word));
        }
        list.push_str("</ul>");
    }
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{} · Iglu</title><script>{THEME_SCRIPT}</script>\
         <link rel=\"preload\" href=\"/fonts/inter-latin.woff2\" as=\"font\" type=\"font/woff2\" crossorigin=\"anonymous\">\
         <link rel=\"icon\" href=\"/favicon.svg\" type=\"image/svg+xml\"><link rel=\"stylesheet\" href=\"{style}\"></head>\
         <body class=\"manual\"><a class=\"skip\" href=\"#content\">Skip to the text</a>\
         <header><a href=\"/\"><img src=\"/favicon.svg\" alt=\"\" width=\"24\" height=\"24\">Iglu</a>\
         <a href=\"{ROOT}\">Documentation</a><span>{}</span></header>\
         <div><details class=\"chapters\"><summary>Contents</summary><nav aria-label=\"Contents\">{list}</nav></details>\
         <nav class=\"chapters\" aria-label=\"Documents\">{list}</nav><main id=\"content\" tabindex=\"-1\">{content}</main></div>\
         </body></html>",
        escaped(title),
        env!("CARGO_PKG_VERSION")
    )
}

/// A text with Markdown in it, as HTML.
pub fn html_of(text: &str) -> String {
    markdown::render("", text).html
}

pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_in_the_list() {
        let listed: Vec<&String> =
            PAGES[INDEX].groups.iter().flat_map(|(_, entries)| entries.iter().map(|(_, address)| address)).collect();
        for name in PAGES.keys().filter(|name| *name != INDEX && !name.starts_with("adr/")) {
            assert!(listed.contains(&&format!("{ROOT}/{name}")), "docs/index.md does not name docs/{name}.md");
        }
        assert!(listed.contains(&&API.to_owned()));
    }

    #[test]
    fn links_of_rendered_pages_lead_somewhere() {
        let mut links = 0;
        for (name, page) in PAGES.iter() {
            for link in page.html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                let Some(below) = link.strip_prefix("/docs") else { continue };
                links += 1;
                let (address, place) = below.split_once('#').unwrap_or((below, ""));
                let address = address.trim_start_matches('/');
                if address == "api" {
                    continue;
                }
                let target = PAGES.get(if address.is_empty() { INDEX } else { address });
                let target = target.unwrap_or_else(|| panic!("{name} leads to {link}"));
                assert!(
                    place.is_empty() || target.html.contains(&format!("id=\"{place}\"")),
                    "{name}: {link} has no such heading"
                );
            }
        }
        assert!(links > 100, "{links}");
    }
}
