//! From a document's text to HTML. Links between documents become links between pages; HTML in the text is left out.

use super::{API, ROOT, escaped};
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

/// A document as a page has it.
pub struct Rendered {
    /// Its first heading.
    pub title: String,
    pub html: String,
    /// Of each heading of the second level, the links in lists below it: words and address.
    pub groups: Vec<(String, Vec<(String, String)>)>,
}

/// `file` is the document's path below `docs`, with which its links begin.
pub fn render(file: &str, text: &str) -> Rendered {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut events: Vec<Event<'_>> = Vec::new();
    let (mut title, mut groups) = (String::new(), Vec::<(String, Vec<(String, String)>)>::new());
    let (mut heading, mut link) = (None, None);
    let mut words = String::new();
    // The heads of a table, and which of its cells comes next; none in the head itself.
    let (mut columns, mut column) = (Vec::<String>::new(), None::<usize>);
    for event in Parser::new_ext(text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH) {
        let event = match event {
            // Nothing of a document is more than text.
            Event::Html(_) | Event::InlineHtml(_) => continue,
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let dest_url = CowStr::from(address(folder, &dest_url));
                words.clear();
                link = Some(dest_url.to_string());
                Event::Start(Tag::Link { link_type, dest_url, title, id })
            }
            Event::End(TagEnd::Link) => {
                if let (Some(address), Some((_, entries))) = (link.take(), groups.last_mut())
                    && heading.is_none()
                {
                    entries.push((words.clone(), address));
                }
                Event::End(TagEnd::Link)
            }
            Event::Start(Tag::Heading { .. }) => {
                words.clear();
                heading = Some(events.len());
                event
            }
            Event::End(TagEnd::Heading(level)) => {
                if let Some(Event::Start(Tag::Heading { id, .. })) = heading.take().and_then(|at| events.get_mut(at)) {
                    *id = Some(anchor(&words).into());
                }
                match level {
                    HeadingLevel::H1 if title.is_empty() => title.clone_from(&words),
                    HeadingLevel::H2 => groups.push((words.clone(), Vec::new())),
                    _ => {}
                }
                event
            }
            Event::Text(ref text) | Event::Code(ref text) => {
                words.push_str(text);
                event
            }
            // Wide tables scroll by themselves and not with the page; whoever has no mouse reaches them.
            Event::Start(Tag::Table(_)) => {
                events.push(Event::Html(
                    "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"Table\">".into(),
                ));
                event
            }
            Event::End(TagEnd::Table) => {
                events.push(event);
                Event::Html("</div>".into())
            }
            Event::Start(Tag::TableHead) => {
                columns.clear();
                column = None;
                event
            }
            Event::Start(Tag::TableRow) => {
                column = Some(0);
                event
            }
            Event::Start(Tag::TableCell) => match &mut column {
                None => {
                    words.clear();
                    event
                }
                // On a phone, where the head is not seen, each cell says what it is.
                Some(at) => {
                    *at += 1;
                    let label = columns.get(*at - 1).map(String::as_str).unwrap_or_default();
                    Event::Html(format!("<td data-label=\"{}\">", escaped(label)).into())
                }
            },
            Event::End(TagEnd::TableCell) => match column {
                None => {
                    columns.push(words.clone());
                    event
                }
                Some(_) => Event::Html("</td>".into()),
            },
            Event::Start(Tag::CodeBlock(_)) => {
                Event::Html("<pre tabindex=\"0\" role=\"group\" aria-label=\"Code\"><code>".into())
            }
            Event::End(TagEnd::CodeBlock) => Event::Html("</code></pre>".into()),
            event => event,
        };
        events.push(event);
    }
    let mut page = String::new();
    html::push_html(&mut page, events.into_iter());
    Rendered { title: if title.is_empty() { escaped(file) } else { title }, html: page, groups }
}

/// Where a link of a document leads on pages.
fn address(folder: &str, link: &str) -> String {
    if link.contains("://") || link.starts_with('/') || link.starts_with("mailto:") {
        return link.to_owned();
    }
    let (file, place) = link.split_once('#').map_or((link, String::new()), |(file, place)| (file, format!("#{place}")));
    if file.is_empty() {
        return place;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    let path = parts.join("/");
    match path.strip_suffix(".md") {
        Some("index") => format!("{ROOT}{place}"),
        Some(page) => format!("{ROOT}/{page}{place}"),
        None if path == "openapi.json" => API.to_owned(),
        None => format!("{ROOT}/{path}{place}"),
    }
}

/// What a heading is jumped to by, as forges have it.
fn anchor(heading: &str) -> String {
    let heading = heading.to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_pages() {
        for (folder, link, leads) in [
            ("", "clients.md", "/docs/clients"),
            ("", "operations/storage.md#s3", "/docs/operations/storage#s3"),
            ("operations", "../adr/0019-replicas.md", "/docs/adr/0019-replicas"),
            ("operations", "storage.md", "/docs/operations/storage"),
            ("reference", "../index.md", "/docs"),
            ("", "openapi.json", "/docs/api"),
            ("", "#keys", "#keys"),
            ("operations", "https://example.org/x.md", "https://example.org/x.md"),
        ] {
            assert_eq!(address(folder, link), leads, "{link}");
        }
    }

    #[test]
    fn documents_are_text() {
        let page = render(
            "a/b.md",
            "# T `c`\n\n## One two\n\n- [x](y.md) <b>z</b>\n\n<script>alert(1)</script>\n\n```sh\na <b> && c\n```\n\n|a|\n|-|\n|1|\n",
        );
        assert_eq!(page.title, "T c");
        assert_eq!(page.groups, [("One two".to_owned(), vec![("x".to_owned(), "/docs/a/y".to_owned())])]);
        assert!(page.html.contains("<h2 id=\"one-two\">One two</h2>"), "{}", page.html);
        assert!(!page.html.contains("<b>") && !page.html.contains("<script"), "{}", page.html);
        assert!(page.html.contains("a &lt;b&gt; &amp;&amp; c"), "{}", page.html);
        assert!(page.html.contains("<th>a</th>") && page.html.contains("<td data-label=\"a\">1</td>"), "{}", page.html);
    }
}
