//! The description of the API as a page for people: calls by what they are about, no script.

use crate::http::docs::{self, escaped};
use std::fmt::Write;
use utoipa::openapi::{OpenApi, RefOr, path::Operation};

/// `style` is the address of the site's style sheet.
pub fn page(openapi: &OpenApi, style: &str) -> String {
    let mut html = format!(
        "<h1>REST API</h1>{}<p>The same as <a href=\"/api/v1/openapi.json\">OpenAPI</a>, for programs.</p>",
        docs::html_of(openapi.info.description.as_deref().unwrap_or_default())
    );
    for tag in openapi.tags.iter().flatten() {
        let about = escaped(tag.description.as_deref().unwrap_or_default());
        let _ = write!(html, "<section><h2 id=\"{0}\">{0}</h2><p>{about}</p>", escaped(&tag.name));
        for (path, item) in &openapi.paths.paths {
            let methods = [
                ("GET", &item.get),
                ("POST", &item.post),
                ("PUT", &item.put),
                ("PATCH", &item.patch),
                ("DELETE", &item.delete),
            ];
            for (method, operation) in methods {
                let Some(operation) = operation else { continue };
                if operation.tags.iter().flatten().any(|name| *name == tag.name) {
                    call(&mut html, method, path, operation);
                }
            }
        }
        html.push_str("</section>");
    }
    docs::framed("api", "REST API", &format!("<div class=\"reference\">{html}</div>"), style)
}

fn call(html: &mut String, method: &str, path: &str, operation: &Operation) {
    let summary = escaped(operation.summary.as_deref().unwrap_or_default());
    let _ = write!(html, "<article><h3><code>{method} {}</code></h3><p>{summary}</p>", escaped(path));
    let parameters = operation.parameters.iter().flatten();
    let said: String = parameters
        .filter_map(|parameter| {
            let RefOr::T(parameter) = parameter else { return None };
            let about = parameter.description.as_deref()?;
            Some(format!("<dt><code>{}</code></dt><dd>{}</dd>", escaped(&parameter.name), escaped(about)))
        })
        .collect();
    if !said.is_empty() {
        let _ = write!(html, "<dl>{said}</dl>");
    }
    // Names of types lead to the description, which has their fields.
    let named = |value: serde_json::Value| -> Vec<String> {
        let text = value.to_string();
        let names = text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
        names.filter(|name| *name != "Problem").map(escaped).collect()
    };
    let takes = operation.request_body.as_ref().and_then(|body| serde_json::to_value(body).ok()).map(named);
    let gives = serde_json::to_value(&operation.responses).ok().map(named);
    for (word, names) in [("Takes", takes), ("Gives", gives)] {
        if let Some(names) = names.filter(|names| !names.is_empty()) {
            let _ = write!(html, "<p>{word} <code>{}</code></p>", names.join("</code>, <code>"));
        }
    }
    html.push_str("</article>");
}
