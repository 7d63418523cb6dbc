//! The files of a store path, a folder at a time: to look at or to save, without anybody downloading the whole of it.

use crate::ui::{
    encoded,
    icon::{self, Icon},
    number::{Size, counted},
};
use iglu_api::{
    format,
    path::{FileEntry, FileKind, FolderPage},
};
use leptos::prelude::*;

#[component]
pub fn Files(files: Option<FolderPage>, cache: String, hash: String) -> impl IntoView {
    let shown = match files {
        Some(files) => view! { <Folder files cache hash /> }.into_any(),
        None => view! {
            <p class="text-soft">"Its files are not listed: it waits for references, or there are too many of them."</p>
        }
        .into_any(),
    };
    view! {
        <section id="files" class="flex scroll-mt-4 flex-col gap-3" aria-labelledby="files-title">
            <h2 id="files-title" class="text-lg font-semibold">
                "Files"
            </h2>
            {shown}
        </section>
    }
}

#[component]
fn Folder(files: FolderPage, cache: String, hash: String) -> impl IntoView {
    let page = format!("/caches/{cache}/paths/{hash}");
    let mut above = String::new();
    let trail: Vec<(String, String)> = files
        .folder
        .split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| {
            above = if above.is_empty() { segment.to_owned() } else { format!("{above}/{segment}") };
            (segment.to_owned(), format!("{page}?folder={}#files", encoded(&above)))
        })
        .collect();
    let depth = trail.len();
    let trail = trail
        .into_iter()
        .enumerate()
        .map(|(at, (segment, href))| {
            let here = at + 1 == depth;
            view! {
                <span class="text-dim">"/"</span>
                {if here {
                    view! { <span class="font-semibold">{segment}</span> }.into_any()
                } else {
                    view! {
                        <a class="link" href=href>
                            {segment}
                        </a>
                    }
                        .into_any()
                }}
            }
        })
        .collect_view();
    let count = files.count;
    let cut = count > files.entries.len() as u64;
    let folder = files.folder;
    let rows = files
        .entries
        .into_iter()
        .map(|entry| {
            let below = if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) };
            view! { <Entry entry below page=page.clone() cache=cache.clone() hash=hash.clone() /> }
        })
        .collect_view();
    view! {
        <p class="flex flex-wrap gap-1 font-mono text-[0.8125rem]">
            <a class="link" href=format!("{page}#files")>
                "top"
            </a>
            {trail}
        </p>
        <ul class="card divide-y divide-line overflow-hidden">{rows}</ul>
        {cut
            .then(|| {
                view! {
                    <p class="text-sm text-dim">
                        {format!("The first {} of {} are shown.", FolderPage::MOST, format::count(count))}
                    </p>
                }
            })}
    }
}

#[component]
fn Entry(entry: FileEntry, below: String, page: String, cache: String, hash: String) -> impl IntoView {
    // Each segment by itself, so that the slashes stay.
    let address: Vec<String> = below.split('/').map(encoded).collect();
    let address = address.join("/");
    let slash = if address.is_empty() { "" } else { "/" };
    let file = format!("/caches/{cache}/files/{hash}{slash}{address}");
    let name = if entry.name.is_empty() { "the file itself".to_owned() } else { entry.name };
    let (glyph, named, about) = match entry.kind {
        FileKind::Folder { entries } => (
            icon::FOLDER,
            view! {
                <a class="link-plain break-all" href=format!("{page}?folder={}#files", encoded(&below))>
                    {name}
                </a>
            }
            .into_any(),
            view! { <span class="text-dim">{counted(entries, "entry", "entries")}</span> }.into_any(),
        ),
        FileKind::File { size, is_executable } => (
            if is_executable { icon::TERMINAL } else { icon::FILE },
            view! {
                <a class="link-plain break-all" href=file.clone() rel="external">
                    {name.clone()}
                </a>
            }
            .into_any(),
            view! {
                <Size bytes=size />
                <a
                    class="button button-plain button-small px-1.5"
                    href=format!("{file}?download")
                    download=name.clone()
                    rel="external"
                    aria-label=format!("Save {name}")
                    title="Save"
                >
                    <Icon glyph=icon::SAVE />
                </a>
            }
            .into_any(),
        ),
        FileKind::Link { target } => (
            icon::LINK,
            view! {
                <span class="break-all">{name}</span>
                <span class="break-all text-dim">{format!(" → {target}")}</span>
            }
            .into_any(),
            ().into_any(),
        ),
    };
    view! {
        <li class="flex min-h-9 items-center gap-2.5 px-4 py-1 text-[0.8125rem]">
            <span class="text-dim">
                <Icon glyph />
            </span>
            <span class="min-w-0 flex-1 font-mono">{named}</span>
            <span class="flex items-center gap-1 whitespace-nowrap">{about}</span>
        </li>
    }
}
