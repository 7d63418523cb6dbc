//! One store path: what it is, who vouches for it, what it needs and what needs it, its files.

use super::{
    cache::ThisCache,
    loaded::{part_when_loaded, when_loaded},
    path_files::Files,
};
use crate::{
    calls::path::{PathRemove, path_folder, path_get},
    ui::{
        badge::{Badge, Tone},
        button::{LinkButton, Look, Submit},
        chart::{Bar, Chart, ChartData},
        copy::Copy,
        dialog::{Dialog, DialogOpener, close},
        encoded,
        fact::Fact,
        field::Checkbox,
        form::{Refusal, refusal},
        icon,
        number::{Size, counted},
        store_path::StorePath,
        time::{Ago, AgoOr},
        treemap::{Brick, Treemap},
    },
};
use iglu_api::{
    Timestamp,
    cache::Permission,
    format,
    path::{Closure, PathDetail, PathLink},
};
use leptos::prelude::*;
use leptos_meta::Title;
use leptos_router::hooks::{use_params_map, use_query_map};

#[component]
pub fn CachePath() -> impl IntoView {
    let cache = expect_context::<ThisCache>();
    let params = use_params_map();
    let hash = Memo::new(move |_| params.with(|params| params.get("hash").unwrap_or_default()));
    let query = use_query_map();
    let folder = Memo::new(move |_| query.with(|query| query.get("folder").unwrap_or_default()));
    let remove = ServerAction::<PathRemove>::new();
    let path = Resource::new_blocking(move || (cache.name.get(), hash.get()), |(cache, hash)| path_get(cache, hash));
    let files = Resource::new_blocking(
        move || (cache.name.get(), hash.get(), folder.get()),
        |(cache, hash, folder)| path_folder(cache, hash, folder),
    );
    view! {
        <div class="flex flex-col gap-8">
            {when_loaded(path, move |path| view! { <Facts path remove /> }.into_any())}
            {part_when_loaded(
                files,
                move |files| {
                    let (cache, hash) = (cache.name.get_untracked(), hash.get_untracked());
                    Some(view! { <Files files cache hash /> }.into_any())
                },
            )}
        </div>
    }
}

#[component]
fn Facts(path: PathDetail, remove: ServerAction<PathRemove>) -> impl IntoView {
    let name = path.row.name.clone();
    let base = format!("/caches/{}", path.cache);
    let full = format!("/nix/store/{}-{name}", path.row.hash);
    let may_pin = path.permission >= Some(Permission::Push);
    let may_remove = path.permission >= Some(Permission::Admin);
    let pin = may_pin.then(|| {
        view! { <LinkButton href=format!("{base}/pins?path={}", encoded(&full)) label="Pin" look=Look::Quiet glyph=icon::PIN /> }
    });
    let removal = may_remove.then(|| view! { <Removal path=path.clone() remove /> });
    let held = path.row.held.then(|| {
        view! { <Badge tone=Tone::Warn glyph=icon::CLOCK word="waits for references" /> }
    });
    let pins = path
        .pins
        .iter()
        .map(|pin| view! { <Badge tone=Tone::Accent glyph=icon::PIN word=pin.clone() /> })
        .collect_view();
    let pulls = downloads(&path.pulls);
    let closure = path.closure.clone();
    let cache = path.cache.to_string();
    let (references, referrers, referrer_count) =
        (path.references.clone(), path.referrers.clone(), path.referrer_count);
    let reference_count = references.len() as u64;
    view! {
        <Title text=name.clone() />
        <section class="flex flex-col gap-3" aria-labelledby="path">
            <div class="flex flex-wrap items-start justify-between gap-3">
                <div class="min-w-0">
                    <h2 id="path" class="text-lg font-semibold break-all">
                        {name}
                    </h2>
                    <p class="flex min-w-0 items-center gap-1">
                        <code class="min-w-0 text-xs break-all text-soft">{full.clone()}</code>
                        <Copy text=full what="store path" />
                    </p>
                    <p class="mt-1 flex flex-wrap gap-2 empty:hidden">{held} {pins}</p>
                </div>
                <div class="flex flex-wrap items-center gap-2">{pin} {removal}</div>
            </div>
            <Refusal error=refusal(remove) />
            <FactList path />
        </section>
        {pulls.map(|data| view! { <Chart data /> })}
        <ClosureSection closure cache=cache.clone() />
        <div class="grid items-start gap-8 lg:grid-cols-2">
            <Links
                id="references"
                title="Refers to"
                links=references
                count=reference_count
                nothing="Nothing: it stands alone."
                cache=cache.clone()
            />
            <Links
                id="referrers"
                title="Referred to by"
                links=referrers
                count=referrer_count
                nothing="Nothing in this cache refers to it."
                cache
            />
        </div>
    }
}

/// Downloads of the last days, up to the newest one that had any; nothing where none had.
fn downloads(pulls: &[(Timestamp, u64)]) -> Option<ChartData> {
    let (newest, _) = *pulls.last()?;
    let bars = (0..30).rev().map(|back| {
        let at = Timestamp(newest.0 - back * Timestamp::DAY);
        let count = pulls.iter().find(|(day, _)| *day == at).map_or(0, |(_, count)| *count);
        Bar { when: at.to_string()[..10].to_owned(), parts: vec![count] }
    });
    let sum: u64 = pulls.iter().map(|(_, count)| count).sum();
    let sum = format!("{} in 30 days", format::count(sum));
    Some(ChartData { title: "Downloads", sum, parts: &["downloads"], bars: bars.collect(), number: format::count })
}

#[component]
fn FactList(path: PathDetail) -> impl IntoView {
    let cache = path.cache.to_string();
    let log = path.deriver.clone().filter(|_| path.has_log).map(|drv| {
        view! {
            <a class="link" href=format!("/caches/{cache}/log/{drv}") rel="external">
                "Build log"
            </a>
        }
    });
    let deriver = match path.deriver {
        Some(drv) => view! {
            <code class="text-xs break-all">{drv}</code>
            " "
            {log}
        }
        .into_any(),
        None => view! { <span class="text-dim">"not said"</span> }.into_any(),
    };
    let signatures = if path.signatures.is_empty() {
        view! { <span class="text-warn">"none: Nix refuses it"</span> }.into_any()
    } else {
        path.signatures
            .into_iter()
            .map(|signature| {
                let note = (!signature.is_own).then(|| view! { <span class="text-dim">" (a key of elsewhere)"</span> });
                view! {
                    <span class="block">
                        <code class="text-xs break-all">{signature.key}</code>
                        {note}
                    </span>
                }
            })
            .collect_view()
            .into_any()
    };
    let hash = |text: String| view! { <code class="text-xs break-all">{text}</code> }.into_any();
    view! {
        <dl class="card facts">
            <Fact word="Download">
                <Size bytes=path.row.file_size />
                <span class="text-dim">{format!(" as {}", path.compression)}</span>
            </Fact>
            <Fact word="Unpacked">
                <Size bytes=path.row.nar_size />
            </Fact>
            <Fact word="Pushed">
                <Ago at=path.row.pushed_at />
                " by "
                {path.row.pushed_by}
            </Fact>
            <Fact word="Last pulled">
                <AgoOr at=path.row.last_pulled_at never="never" />
                {(path.pull_count > 0).then(|| format!(", {} in all", counted(path.pull_count, "time", "times")))}
            </Fact>
            <Fact word="Signed by">{signatures}</Fact>
            <Fact word="Deriver">{deriver}</Fact>
            <Fact word="NAR hash">{hash(path.nar_hash)}</Fact>
            <Fact word="File hash">{hash(path.file_hash)}</Fact>
            {path.content_address.map(|ca| view! { <Fact word="Content address">{hash(ca)}</Fact> })}
        </dl>
    }
}

#[component]
fn ClosureSection(closure: Closure, cache: String) -> impl IntoView {
    let summary = format!(
        "{}{}: {} unpacked, {} to download.",
        if closure.is_cut { "At least " } else { "" },
        counted(closure.paths, "path", "paths"),
        format::bytes(closure.nar_bytes),
        format::bytes(closure.file_bytes),
    );
    let missing = (closure.missing > 0).then(|| {
        let words = format!(
            "{} not in this cache; machines get them elsewhere, or not at all.",
            counted(closure.missing, "more path is", "more paths are")
        );
        view! { <p class="text-warn">{words}</p> }
    });
    let named: u64 = closure.largest.iter().filter_map(|link| link.nar_size).sum();
    let rest = closure.nar_bytes - named.min(closure.nar_bytes);
    let mut bricks: Vec<Brick> = closure
        .largest
        .iter()
        .map(|link| Brick {
            size: link.nar_size.unwrap_or_default(),
            name: link.name.clone(),
            title: format!("{}: {} unpacked", link.name, format::bytes(link.nar_size.unwrap_or_default())),
            href: Some(format!("/caches/{cache}/paths/{}", link.hash)),
        })
        .collect();
    if rest > 0 {
        let others = closure.paths - closure.largest.len() as u64;
        let name = counted(others, "other", "others");
        bricks.push(Brick { size: rest, title: format!("{name}: {}", format::bytes(rest)), name, href: None });
    }
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="closure">
            <h2 id="closure" class="text-lg font-semibold">
                "Closure"
            </h2>
            <p class="text-soft">{summary}</p>
            {missing}
            {(bricks.len() > 1)
                .then(|| view! { <Treemap bricks label="The closure, each path as large as it is unpacked" /> })}
        </section>
    }
}

#[component]
fn Links(
    id: &'static str,
    title: &'static str,
    links: Vec<PathLink>,
    count: u64,
    nothing: &'static str,
    cache: String,
) -> impl IntoView {
    let shown = links.len() as u64;
    let list = if links.is_empty() {
        view! { <p class="text-soft">{nothing}</p> }.into_any()
    } else {
        let rows = links.into_iter().map(|link| view! { <Linked link cache=cache.clone() /> }).collect_view();
        view! { <ul class="card divide-y divide-line">{rows}</ul> }.into_any()
    };
    view! {
        <section class="flex min-w-0 flex-col gap-3" aria-labelledby=id>
            <h2 id=id class="text-lg font-semibold">
                {title}
                {(count > 0).then(|| view! { <span class="font-normal text-dim">{format!(" {}", format::count(count))}</span> })}
            </h2>
            {list}
            {(count > shown).then(|| view! { <p class="text-sm text-dim">{format!("The first {shown} are shown.")}</p> })}
        </section>
    }
}

#[component]
fn Linked(link: PathLink, cache: String) -> impl IntoView {
    let hash = link.hash.to_string();
    let (href, size) = match link.nar_size {
        Some(bytes) => (Some(format!("/caches/{cache}/paths/{hash}")), view! { <Size bytes /> }.into_any()),
        None => (None, view! { <span class="text-warn">"not here"</span> }.into_any()),
    };
    let named = match href {
        Some(href) => view! { <StorePath hash name=link.name href /> }.into_any(),
        None => view! { <StorePath hash name=link.name /> }.into_any(),
    };
    view! {
        <li class="flex items-center justify-between gap-4 px-4 py-1">
            <span class="min-w-0">{named}</span>
            <span class="text-sm whitespace-nowrap">{size}</span>
        </li>
    }
}

#[component]
fn Removal(path: PathDetail, remove: ServerAction<PathRemove>) -> impl IntoView {
    let count = path.referrer_count;
    let what = match count {
        0 => "Nobody pulls it from now on.".to_owned(),
        count => format!(
            "{} to it. Without it they could not be used, so they go along or nothing goes.",
            counted(count, "path refers", "paths refer")
        ),
    };
    let error = refusal(remove);
    view! {
        <DialogOpener dialog="remove-path" label="Remove" full=true />
        <Dialog id="remove-path" title=format!("Remove {}?", path.row.name)>
            <p class="mb-4 text-soft">{what} " It can be undone for a day."</p>
            <ActionForm action=remove attr:class="flex flex-col gap-4" on:submit=move |_| close("remove-path")>
                <input r#type="hidden" name="cache" value=path.cache.to_string() />
                <input r#type="hidden" name="hash" value=path.row.hash.to_string() />
                {(count > 0)
                    .then(|| {
                        view! {
                            <Checkbox
                                name="with_referrers"
                                label="Remove what refers to it, too"
                                required=true
                                error
                            />
                        }
                    })}
                <div class="flex justify-end">
                    <Submit label="Remove path" look=Look::Danger pending=remove.pending() />
                </div>
            </ActionForm>
        </Dialog>
    }
}
