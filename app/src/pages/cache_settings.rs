//! The settings of a cache, what may be pushed to it, and its end.

use super::{cache::ThisCache, cache_create::VISIBILITIES, frame::FrameData, loaded::when_loaded};
use crate::{
    calls::{
        cache::{CacheChange, CacheRemove, settings_of},
        retention::{LimitsSet, limits_get},
    },
    ui::{
        button::{Look, Submit},
        dialog::{Dialog, DialogOpener},
        field::{Checkbox, Choices, Field, TextArea},
        form::{Refusal, Saved, done, refusal},
        number::counted,
        toast::Toasts,
    },
};
use iglu_api::{
    cache::{CacheDetail, Permission},
    format,
    retention::PushLimits,
};
use leptos::prelude::*;
use leptos_meta::Title;

#[component]
pub fn CacheSettings() -> impl IntoView {
    let cache = expect_context::<ThisCache>();
    let (change, remove) = (ServerAction::<CacheChange>::new(), ServerAction::<CacheRemove>::new());
    let limits_set = ServerAction::<LimitsSet>::new();
    let limits_done = done(limits_set);
    let limits = Resource::new_blocking(move || (cache.name.get(), limits_done.get()), |(name, _)| limits_get(name));
    let frame = expect_context::<FrameData>();
    let changed = done(change);
    let toasts = expect_context::<Toasts>();
    Effect::new(move |before: Option<usize>| {
        let now = changed.get();
        if before.is_some_and(|before| before != now) {
            // The form is made anew with the cache, and what stood beside its button with it.
            toasts.say("The settings are saved.");
            cache.detail.refetch();
        }
        now
    });
    Effect::new(move |_| {
        if remove.value().with(|answer| matches!(answer, Some(Ok(())))) {
            frame.refresh();
        }
    });
    view! {
        {move || view! { <Title text=format!("Settings of {}", cache.name.get()) /> }}
        <div class="flex flex-col gap-8">
            {when_loaded(
                cache.detail,
                move |detail| view! { <Settings detail change /> }.into_any(),
            )}
            {when_loaded(
                limits,
                move |limits| {
                    let name = cache.name.get_untracked();
                    view! { <Limits limits cache=name limits_set /> }.into_any()
                },
            )} {when_loaded(
                cache.detail,
                move |detail| {
                    let owns = detail.permission == Some(Permission::Own);
                    owns.then(|| view! { <Danger detail remove /> }).into_any()
                },
            )}
        </div>
    }
}

#[component]
fn Settings(detail: CacheDetail, change: ServerAction<CacheChange>) -> impl IntoView {
    let error = refusal(change);
    let seen = serde_json::to_string(&settings_of(&detail)).unwrap_or_default();
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="settings">
            <h2 id="settings" class="text-lg font-semibold">
                "Settings"
            </h2>
            <ActionForm action=change attr:class="card flex max-w-3xl flex-col gap-5 p-5">
                <Refusal
                    error
                    fields=&["visibility", "networks", "priority", "is_lenient", "client_filter_keys", "upstreams"]
                />
                <input r#type="hidden" name="name" value=detail.summary.name.to_string() />
                <input r#type="hidden" name="seen" value=seen />
                <Choices
                    name="visibility"
                    legend="Who may pull"
                    choices=&VISIBILITIES
                    value=detail.summary.visibility.as_str()
                    error
                />
                <TextArea
                    name="networks"
                    label="Networks"
                    value=detail.networks.join("\n")
                    placeholder="10.0.0.0/8"
                    rows=2
                    help="From where the cache may be used, one network a line; empty for everywhere. Runs of builders and administrators of the server are let in all the same."
                    error
                />
                <Field
                    name="priority"
                    label="Priority"
                    kind="number"
                    value=detail.summary.priority.to_string()
                    help="Nix asks caches with a lower number first. cache.nixos.org has 40."
                    error
                />
                <Checkbox
                    name="is_lenient"
                    label="Show paths whose references are missing"
                    checked=detail.is_lenient
                    help="Otherwise a path waits until all that it refers to is here or in an upstream, so that nobody pulls half a closure."
                    error
                />
                <TextArea
                    name="upstreams"
                    label="Upstreams"
                    value=detail.upstreams.join("\n")
                    placeholder="https://cache.nixos.org"
                    help="Caches that machines use beside this one, one a line. What they have need not be pushed here."
                    error
                />
                <TextArea
                    name="client_filter_keys"
                    label="Keys of upstreams"
                    value=detail.client_filter_keys.join("\n")
                    placeholder="cache.nixos.org-1"
                    rows=2
                    help="attic clients leave out what these keys signed, one name a line."
                    error
                />
                <div class="flex flex-wrap items-center gap-2">
                    <Submit label="Save settings" pending=change.pending() />
                    <Saved action=change />
                </div>
            </ActionForm>
        </section>
    }
}

#[component]
fn Limits(limits: PushLimits, cache: String, limits_set: ServerAction<LimitsSet>) -> impl IntoView {
    let error = refusal(limits_set);
    let text = |bytes: Option<u64>| bytes.map(format::bytes_exact).unwrap_or_default();
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="limits">
            <h2 id="limits" class="text-lg font-semibold">
                "Limits"
            </h2>
            <ActionForm action=limits_set attr:class="card flex max-w-3xl flex-col gap-5 p-5">
                <Refusal error fields=&["cache_bytes", "upload_bytes"] />
                <input r#type="hidden" name="cache" value=cache />
                <div class="grid gap-5 sm:grid-cols-2">
                    <Field
                        name="cache_bytes"
                        label="Size of the cache"
                        value=text(limits.cache_bytes)
                        placeholder="500 GiB"
                        required=false
                        help="Pushes beyond it are refused."
                        error
                    />
                    <Field
                        name="upload_bytes"
                        label="Size of one upload"
                        value=text(limits.upload_bytes)
                        placeholder="10 GiB"
                        required=false
                        help="Of a NAR file, compressed."
                        error
                    />
                </div>
                <div class="flex flex-wrap items-center gap-2">
                    <Submit label="Save limits" pending=limits_set.pending() />
                    <Saved action=limits_set />
                </div>
            </ActionForm>
        </section>
    }
}

#[component]
fn Danger(detail: CacheDetail, remove: ServerAction<CacheRemove>) -> impl IntoView {
    let error = refusal(remove);
    let name = detail.summary.name.to_string();
    let what = format!(
        "{} ({}), its keys, pins and tokens",
        counted(detail.summary.path_count, "path", "paths"),
        format::bytes(detail.summary.stored_bytes)
    );
    view! {
        <section class="flex flex-col gap-3" aria-labelledby="danger">
            <h2 id="danger" class="text-lg font-semibold">
                "Danger zone"
            </h2>
            <div class="card flex max-w-3xl flex-wrap items-center justify-between gap-4 border-fail p-5">
                <div class="min-w-0 flex-1 basis-72">
                    <p class="font-medium">"Remove this cache"</p>
                    <p class="text-sm text-soft">{format!("With {what}. This cannot be undone.")}</p>
                    <Refusal error fields=&["confirm"] />
                </div>
                <DialogOpener dialog="remove-cache" label="Remove cache" look=Look::Danger full=true />
            </div>
            <Dialog id="remove-cache" title=format!("Remove {name}?")>
                <p class="mb-4 text-soft">
                    {format!(
                        "Machines that use it get 404 from now on. With it go {what}. There is no way back but a backup.",
                    )}
                </p>
                <ActionForm action=remove attr:class="flex flex-col gap-4">
                    <input r#type="hidden" name="name" value=name.clone() />
                    <Field
                        name="confirm"
                        label=format!("Type {name} to remove it")
                        autocomplete="off"
                        error
                    />
                    <div class="flex justify-end">
                        <Submit label="Remove for ever" look=Look::Danger pending=remove.pending() />
                    </div>
                </ActionForm>
            </Dialog>
        </section>
    }
}
