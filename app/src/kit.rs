//! The kit on one page, `/_kit` of debug builds: every component in every look, to be judged together. It is not taken over by the
//! browser; what it shows needs no server.

use crate::{
    AssetRoot,
    calls::UiError,
    ui::{
        badge::{Badge, Tone, VisibilityBadge},
        button::{LinkButton, Look, Submit},
        chart::{Bar, Chart, ChartData},
        code::Code,
        dialog::{Dialog, DialogOpener},
        empty::Empty,
        fact::Fact,
        field::{Checkbox, Choice, Choices, Field, Select, TextArea},
        form::Refusal,
        icon::{self, Glyph, Icon},
        keys::KeysDialog,
        logo::{Bricks, Logo},
        number::Size,
        page::PageHead,
        pagination::Pagination,
        stat::{Stat, Stats},
        store_path::StorePath,
        tab::{Tab, Tabs},
        table::{Cell, Column, Row, Table, numbers, words},
        theme::Chosen,
        time::{Ago, AgoOr, Now, When},
        treemap::{Brick, Treemap},
    },
};
use iglu_api::{Timestamp, cache::Visibility, format};
use leptos::{nonce::use_nonce, prelude::*};
use leptos_meta::provide_meta_context;
use leptos_router::{
    components::{Route, Router, Routes},
    path,
};

const COLUMNS: [Column; 3] = [words("Path"), numbers("Size"), numbers("Pushed")];
const CHOICES: [Choice; 2] = [
    Choice { value: "one", label: "One", help: "What the first is for." },
    Choice { value: "other", label: "The other", help: "What the second is for." },
];
const GLYPHS: [Glyph; 31] = [
    icon::OVERVIEW,
    icon::CACHE,
    icon::TOKEN,
    icon::PERSON,
    icon::MENU,
    icon::CLOSE,
    icon::COPY,
    icon::CHECK,
    icon::PLUS,
    icon::SEARCH,
    icon::RIGHT,
    icon::LEFT,
    icon::DOWN,
    icon::UP,
    icon::GLOBE,
    icon::LOCK,
    icon::WARNING,
    icon::CROSSED,
    icon::CLOCK,
    icon::HALF_MOON,
    icon::LEAVE,
    icon::KEYBOARD,
    icon::DISK,
    icon::KEY_ROUND,
    icon::TERMINAL,
    icon::SERVER,
    icon::PIN,
    icon::FOLDER,
    icon::FILE,
    icon::LINK,
    icon::SAVE,
];
const LONG_AGO: Timestamp = Timestamp(1_790_000_000_000);
const HASH: &str = "0c6yc8j1bdslbkzsxjkgg9bmfm0fkywy";

/// The whole document.
pub fn document(options: &LeptosOptions) -> impl IntoView + use<> {
    provide_meta_context();
    Now::provide();
    Chosen::provide();
    let nonce = use_nonce();
    crate::shell::policy::send(nonce.as_ref());
    let AssetRoot(root) = use_context().unwrap_or_default();
    let style = format!("{root}/{}/{}.css", options.site_pkg_dir, options.output_name);
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8" />
                <meta name="viewport" content="width=device-width, initial-scale=1" />
                <meta name="color-scheme" content="light dark" />
                <title>"The kit · Iglu"</title>
                <link rel="icon" href="/favicon.svg" type="image/svg+xml" />
                <link rel="stylesheet" href=style />
            </head>
            <body>
                <Router>
                    <Routes fallback=|| ()>
                        <Route path=path!("/_kit") view=Kit />
                    </Routes>
                </Router>
            </body>
        </html>
    }
}

#[component]
fn Kit() -> impl IntoView {
    view! {
        <main class="mx-auto flex max-w-5xl flex-col gap-10 p-4 lg:p-8">
            <PageHead title="The kit" trail=vec![("Caches".to_owned(), "/caches".to_owned())] />
            <Part title="Buttons">
                <Buttons />
            </Part>
            <Part title="Words">
                <Words />
            </Part>
            <Part title="Fields">
                <Fields />
            </Part>
            <Part title="Tables">
                <Tables />
            </Part>
            <Part title="Pictures">
                <Pictures />
            </Part>
        </main>
    }
}

#[component]
fn Part(title: &'static str, children: Children) -> impl IntoView {
    view! {
        <section class="flex flex-col gap-4" aria-label=title>
            <h2 class="text-lg font-semibold">{title}</h2>
            {children()}
        </section>
    }
}

#[component]
fn Buttons() -> impl IntoView {
    let looks = [(Look::Primary, "Primary"), (Look::Quiet, "Quiet"), (Look::Danger, "Danger"), (Look::Plain, "Plain")];
    let links = looks.map(|(look, word)| view! { <LinkButton href="#" label=word look glyph=icon::CHECK /> });
    let submits = looks.map(|(look, word)| view! { <Submit label=word look pending=false /> });
    let waiting = looks.map(|(look, word)| view! { <Submit label=word look pending=true /> });
    view! {
        <div class="flex flex-wrap gap-3">{links.collect_view()}</div>
        <div class="flex flex-wrap gap-3">{submits.collect_view()}</div>
        <div class="flex flex-wrap gap-3">{waiting.collect_view()}</div>
        <div class="flex flex-wrap items-center gap-3">
            <DialogOpener dialog="kit-dialog" label="Open a dialog" full=true />
            <DialogOpener dialog="kit-dialog" label="In a row" />
            <Dialog id="kit-dialog" title="Remove hello-2.12?">
                <p class="mb-4 text-soft">"What will happen, in words."</p>
                <div class="flex justify-end">
                    <Submit label="Remove" look=Look::Danger pending=false />
                </div>
            </Dialog>
        </div>
        <KeysDialog />
        <Tabs label="Pages of the kit">
            <Tab word="Here" href="/_kit" is_root=true />
            <Tab word="Elsewhere" href="/" />
        </Tabs>
        <Pagination earlier=Some("#".to_owned()) later=Some("#".to_owned()) range="51 to 100" />
    }
}

#[component]
fn Words() -> impl IntoView {
    let tones = [
        (Tone::Plain, "plain"),
        (Tone::Accent, "accent"),
        (Tone::Done, "done"),
        (Tone::Warn, "warning"),
        (Tone::Fail, "failed"),
    ];
    let stats = [("3", "caches"), ("12,480", "paths"), ("41.2 GiB", "stored"), ("93 %", "hit rate, 30 days")];
    let stats = stats.map(|(value, word)| Stat { value: value.to_owned(), word, title: word.to_owned() });
    view! {
        <div class="flex flex-wrap gap-3">
            {tones.map(|(tone, word)| view! { <Badge tone glyph=icon::CHECK word /> }).collect_view()}
            <VisibilityBadge visibility=Visibility::Public />
            <VisibilityBadge visibility=Visibility::Private />
        </div>
        <Stats stats=stats.into() />
        <dl class="grid gap-4 sm:grid-cols-3">
            <Fact word="Size">
                <Size bytes=44_238_012 />
            </Fact>
            <Fact word="Ago">
                <Ago at=LONG_AGO />
            </Fact>
            <Fact word="When">
                <When at=LONG_AGO />
            </Fact>
            <Fact word="Never">
                <AgoOr at=None never="never" />
            </Fact>
            <Fact word="A store path">
                <StorePath hash=HASH name="hello-2.12.1" href="#" />
            </Fact>
        </dl>
        <Code id="kit-code" place="nix.conf" text="substituters = https://cache.nixos.org https://iglu.example.org/main" />
        <Empty sentence="Nothing has been pushed yet.">
            <LinkButton href="#" label="Push a path" />
        </Empty>
    }
}

#[component]
fn Fields() -> impl IntoView {
    let fine = Signal::stored(None);
    let wrong = |field: &str| {
        let error = UiError::Invalid { field: field.to_owned(), message: "This is what is wrong with it.".to_owned() };
        Signal::stored(Some(error))
    };
    let options = || vec![("a".to_owned(), "The first".to_owned()), ("b".to_owned(), "The second".to_owned())];
    view! {
        <Refusal error=Signal::stored(Some(UiError::Forbidden("Only owners may do this.".to_owned()))) />
        <form class="grid gap-5 sm:grid-cols-2">
            <Field name="plain" label="Name" help="What it is for." value="main" error=fine />
            <Field name="wrong" label="Priority" value="high" error=wrong("wrong") />
            <Field name="optional" label="Upstream" required=false placeholder="https://cache.nixos.org" error=fine />
            <Field name="fixed" label="Set elsewhere" value="cannot be changed" readonly=true error=fine />
            <Select name="select" label="Cache" options=options() value="b" error=fine />
            <Select name="select_wrong" label="Cache" options=options() error=wrong("select_wrong") />
            <TextArea name="area" label="Keys" help="One a line." error=fine />
            <TextArea name="area_wrong" label="Keys" value="nonsense" error=wrong("area_wrong") />
            <Choices name="choice" legend="Which" choices=&CHOICES value="one" error=fine />
            <div class="flex flex-col gap-3">
                <Checkbox name="box" label="Really" checked=true error=fine />
                <Checkbox name="box_wrong" label="Really" error=wrong("box_wrong") />
            </div>
        </form>
    }
}

#[component]
fn Tables() -> impl IntoView {
    let rows =
        [("hello-2.12.1", 226_552), ("a-very-long-name-that-has-to-go-somewhere-in-a-narrow-row-1.2.3-unstable", 1)];
    let rows = rows.map(|(name, bytes)| {
        view! {
            <Row>
                <Cell class="whole">
                    <StorePath hash=HASH name href="#" />
                </Cell>
                <Cell label="Size" class="number">
                    <Size bytes />
                </Cell>
                <Cell label="Pushed" class="number">
                    <Ago at=LONG_AGO />
                </Cell>
            </Row>
        }
    });
    view! {
        <Table caption="Paths" columns=&COLUMNS>
            {rows.collect_view()}
        </Table>
    }
}

#[component]
fn Pictures() -> impl IntoView {
    let bars = (0..30_u64).map(|day| Bar { when: format!("day {day}"), parts: vec![day * 37 % 50, day * 11 % 13] });
    let data = ChartData {
        title: "Lookups",
        sum: "93 % found".to_owned(),
        parts: &["found", "missed"],
        bars: bars.collect(),
        number: format::count,
    };
    let bricks =
        [("glibc", 30_u64), ("gcc-lib", 9), ("openssl", 6), ("zlib", 1), ("hello", 1)].map(|(name, size)| Brick {
            size: size << 20,
            name: name.to_owned(),
            title: format!("{name}: {size} MiB"),
            href: Some("#".to_owned()),
        });
    view! {
        <Chart data />
        <Treemap bricks=bricks.into() label="A closure, each path as large as it is unpacked" />
        <div class="flex flex-wrap items-center gap-4">
            <Logo />
            <Bricks filled=true />
            {GLYPHS.map(|glyph| view! { <Icon glyph /> }).collect_view()}
        </div>
    }
}
