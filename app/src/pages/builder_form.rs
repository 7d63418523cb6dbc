//! The form of a builder: what of which repository is built, and within what limits. New ones, and changes.

use super::{builder_look::RepositoryLook, loaded::when_loaded};
use crate::{
    calls::{
        UiError,
        builder::{BuilderCreate, builder_caches},
    },
    ui::{
        button::{LinkButton, Look, Submit},
        field::{Checkbox, Choice, Choices, Field, Select, TextArea},
        form::{Refusal, refusal},
        page::PageHead,
    },
};
use iglu_api::builder::{BuilderSpec, ForgeKind, RunLimits, Status, What};
use leptos::prelude::*;
use leptos_router::hooks::use_query_map;

const KINDS: [Choice; 3] = [
    Choice { value: "flake", label: "Flake outputs", help: "packages, checks, an attribute of a flake." },
    Choice { value: "file", label: "A Nix file", help: "default.nix and the like, or attributes of it." },
    Choice { value: "command", label: "A command", help: "Its output's store paths and result links are pushed." },
];

/// The fields that show their own refusal.
pub const FIELDS: [&str; 29] = [
    "name",
    "cache",
    "password",
    "key",
    "spec[repository]",
    "spec[reference]",
    "spec[folder]",
    "spec[outputs]",
    "spec[file]",
    "spec[attributes]",
    "spec[command]",
    "spec[systems]",
    "spec[substituters]",
    "spec[trusted_keys]",
    "spec[cores]",
    "spec[jobs]",
    "spec[memory_mib]",
    "spec[timeout_minutes]",
    "spec[log_mib]",
    "spec[runs]",
    "spec[keep_runs]",
    "user",
    "spec[cron]",
    "spec[time_zone]",
    "spec[poll_minutes]",
    "spec[branches]",
    "spec[paths]",
    "spec[status_api]",
    "status_token",
];

#[component]
pub fn BuilderCreatePage() -> impl IntoView {
    let caches = Resource::new_blocking(|| (), |_| builder_caches());
    when_loaded(caches, |caches| view! { <New caches /> }.into_any())
}

#[component]
fn New(caches: Vec<String>) -> impl IntoView {
    let action = ServerAction::<BuilderCreate>::new();
    let error = refusal(action);
    let asked = use_query_map().with_untracked(|query| query.get("cache").unwrap_or_default());
    let chosen = caches.iter().find(|name| **name == asked).or(caches.first()).cloned().unwrap_or_default();
    let options = caches.into_iter().map(|name| (name.clone(), name)).collect();
    view! {
        <PageHead title="New builder" trail=vec![("Builders".to_owned(), "/builders".to_owned())] />
        <ActionForm action attr:class="flex max-w-2xl flex-col gap-6">
            <Refusal error fields=&FIELDS />
            <section class="card flex flex-col gap-5 p-5">
                <Field
                    name="name"
                    label="Name"
                    autofocus=true
                    maxlength=60
                    placeholder="website"
                    help="Letters, digits and - _ . It cannot be changed later."
                    error
                />
                <Select name="cache" label="Fills the cache" options value=chosen error />
            </section>
            <SpecFields spec=None error />
            <div class="flex gap-2">
                <Submit label="Create builder" pending=action.pending() />
                <LinkButton href="/builders" label="Cancel" look=Look::Quiet />
            </div>
        </ActionForm>
    }
}

/// The fields of a specification, with what it holds where there is one, and of the credential.
#[component]
pub fn SpecFields(
    spec: Option<BuilderSpec>,
    /// A credential is kept: the fields for one replace it.
    #[prop(optional)]
    has_credential: bool,
    #[prop(optional)] has_status_token: bool,
    /// The builder and its cache, where there is one already.
    #[prop(optional)]
    kept: Option<(String, String)>,
    error: Signal<Option<UiError>>,
) -> impl IntoView {
    let limits = spec.as_ref().map_or_else(RunLimits::default, |spec| spec.limits);
    let lines = |list: &[String]| list.join("\n");
    let (mut kind, mut folder, mut outputs) = ("flake", String::new(), "packages\nchecks".to_owned());
    let (mut file, mut attributes, mut command) = ("default.nix".to_owned(), String::new(), String::new());
    match spec.as_ref().map(|spec| &spec.what) {
        None => {}
        Some(What::Flake { folder: in_folder, outputs: all }) => {
            (folder, outputs) = (in_folder.clone(), lines(all));
        }
        Some(What::File { file: name, attributes: all }) => {
            (kind, file, attributes) = ("file", name.clone(), lines(all));
        }
        Some(What::Command { command: text }) => (kind, command) = ("command", text.clone()),
    }
    let of = |value: fn(&BuilderSpec) -> String| spec.as_ref().map(value).unwrap_or_default();
    let repository = of(|spec| spec.repository.to_string());
    let reference = spec.as_ref().map_or_else(|| "main".to_owned(), |spec| spec.reference.to_string());
    let keep_going = spec.as_ref().is_none_or(|spec| spec.keep_going);
    let full_history = spec.as_ref().is_some_and(|spec| spec.full_history);
    let keep_runs = spec.as_ref().map_or(1, |spec| spec.keep_runs);
    let systems = of(|spec| spec.systems.join("\n"));
    let substituters = of(|spec| spec.substituters.join("\n"));
    let trusted_keys = of(|spec| spec.trusted_keys.join("\n"));
    let is_moved = spec.as_ref().is_some_and(|spec| {
        spec.limits != RunLimits::default() || !spec.systems.is_empty() || !spec.substituters.is_empty()
    });
    let triggers = spec.as_ref().map(|spec| spec.triggers.clone()).unwrap_or_default();
    let (cron, time_zone) = triggers.schedule.map(|at| (at.cron, at.time_zone)).unwrap_or_default();
    let poll_minutes = triggers.poll_minutes.map(|minutes| minutes.to_string()).unwrap_or_default();
    let hears = triggers.webhook.is_some();
    let webhook = triggers.webhook.unwrap_or_default();
    let (branches, paths) = (lines(&webhook.branches), lines(&webhook.paths));
    let status = spec.as_ref().and_then(|spec| spec.status.clone());
    let (forge, status_api) = match &status {
        None => ("", String::new()),
        Some(Status { forge: ForgeKind::Github, api }) => ("github", api.clone()),
        Some(Status { forge: ForgeKind::Gitlab, api }) => ("gitlab", api.clone()),
        Some(Status { forge: ForgeKind::Gitea, api }) => ("gitea", api.clone()),
    };
    let forges = [("", "nobody"), ("github", "GitHub"), ("gitlab", "GitLab"), ("gitea", "Gitea or Forgejo")];
    let forges = forges.map(|(value, word)| (value.to_owned(), word.to_owned())).to_vec();
    let token_help = if has_status_token {
        "One is kept; what is written here replaces it."
    } else {
        "It may set the statuses of commits. It is kept sealed and never shown."
    };
    let kept_words = if has_credential { "A password or key is kept. What is written here replaces it." } else { "" };
    view! {
        <section class="card flex flex-col gap-5 p-5" aria-labelledby="source">
            <h2 id="source" class="text-lg font-semibold">
                "Source"
            </h2>
            <Field
                name="spec[repository]"
                label="Repository"
                value=repository
                placeholder="https://git.example.org/team/website.git"
                help="By https or ssh (git@host:path)."
                error
            />
            <Field
                name="spec[reference]"
                label="Branch, tag or commit"
                value=reference
                help="What is built where a trigger names nothing else."
                error
            />
            <details class="group" open=has_credential>
                <summary class="cursor-pointer font-medium">"Credential of a private repository"</summary>
                <div class="mt-4 flex flex-col gap-5">
                    {(!kept_words.is_empty()).then(|| view! { <p class="text-soft">{kept_words}</p> })}
                    <div class="grid gap-5 sm:grid-cols-2">
                        <Field
                            name="user"
                            label="User"
                            required=false
                            autocomplete="off"
                            help="For https; some forges want any name with a token."
                            error
                        />
                        <Field
                            name="password"
                            label="Password or token"
                            kind="password"
                            required=false
                            autocomplete="new-password"
                            help="For https. It is kept sealed and never shown."
                            error
                        />
                    </div>
                    <TextArea
                        name="key"
                        label="Private key"
                        help="For ssh, in OpenSSH's form and without a passphrase. It is kept sealed and never shown."
                        error
                    />
                    {has_credential
                        .then(|| view! { <Checkbox name="without_credential" label="Forget the credential that is kept" error /> })}
                </div>
            </details>
            <RepositoryLook of=kept />
        </section>
        <section class="card kinds flex flex-col gap-5 p-5" aria-labelledby="what">
            <h2 id="what" class="text-lg font-semibold">
                "What is built"
            </h2>
            <Choices name="spec[kind]" legend="Kind" choices=&KINDS value=kind error />
            <div class="kind-flake flex flex-col gap-5">
                <TextArea
                    name="spec[outputs]"
                    label="Outputs"
                    value=outputs
                    help="A line each: packages, checks, devShells, nixosConfigurations, or an attribute such as hello or packages.x86_64-linux.hello."
                    error
                />
                <Field
                    name="spec[folder]"
                    label="Folder of flake.nix"
                    value=folder
                    required=false
                    help="Where it is not at the top."
                    error
                />
            </div>
            <div class="kind-file flex flex-col gap-5">
                <Field name="spec[file]" label="File" value=file required=false error />
                <TextArea
                    name="spec[attributes]"
                    label="Attributes"
                    value=attributes
                    help="A line each; none for all that the file evaluates to."
                    error
                />
            </div>
            <div class="kind-command flex flex-col gap-5">
                <TextArea
                    name="spec[command]"
                    label="Command"
                    value=command
                    placeholder="nix build .#website --print-out-paths"
                    help="For sh, in the repository's folder. Store paths that it prints and links result* that it leaves are pushed."
                    error
                />
            </div>
            <Checkbox
                name="spec[keep_going]"
                label="Go on when a derivation fails"
                checked=keep_going
                help="What does not depend on it is built and pushed."
                error
            />
        </section>
        <section class="card flex flex-col gap-5 p-5" aria-labelledby="when">
            <h2 id="when" class="text-lg font-semibold">
                "When it runs"
            </h2>
            <p class="text-soft">"By hand at any time, and besides that:"</p>
            <div class="grid gap-5 sm:grid-cols-2">
                <Field
                    name="spec[cron]"
                    label="Schedule"
                    value=cron
                    required=false
                    placeholder="30 4 * * *"
                    help="Minute, hour, day, month, day of the week."
                    error
                />
                <Field
                    name="spec[time_zone]"
                    label="Time zone"
                    value=time_zone
                    required=false
                    placeholder="UTC"
                    help="Such as Europe/Berlin."
                    error
                />
                <Field
                    name="spec[poll_minutes]"
                    label="Look for a new commit every … minutes"
                    value=poll_minutes
                    inputmode="numeric"
                    required=false
                    help="Where the forge cannot call this server."
                    error
                />
            </div>
            <div class="hears flex flex-col gap-5">
                <Checkbox
                    name="spec[webhook]"
                    label="When the forge calls"
                    checked=hears
                    help="The address and the secret for it are on the builder's page Webhook."
                    error
                />
                <div class="heard flex flex-col gap-5">
                    <div class="grid gap-5 sm:grid-cols-2">
                        <TextArea
                            name="spec[branches]"
                            label="Branches and tags"
                            value=branches
                            placeholder="main\nrelease/*"
                            help="A pattern in each line; none for the one above."
                            error
                        />
                        <TextArea
                            name="spec[paths]"
                            label="Files"
                            value=paths
                            placeholder="*.nix\nsrc/*"
                            help="A push that changes none of them starts nothing."
                            error
                        />
                    </div>
                    <Checkbox
                        name="spec[pull_requests]"
                        label="Pull and merge requests too"
                        checked=webhook.pull_requests
                        error
                    />
                    <Checkbox
                        name="spec[forks]"
                        label="Also those from forks"
                        checked=webhook.forks
                        help="Anybody's code is then built by your nodes, and what comes of it goes into the cache."
                        error
                    />
                </div>
            </div>
        </section>
        <section class="card tells flex flex-col gap-5 p-5" aria-labelledby="tells">
            <h2 id="tells" class="text-lg font-semibold">
                "Who is told"
            </h2>
            <Select
                name="spec[status_forge]"
                label="What became of a commit is told to"
                options=forges
                value=forge
                help="It stands beside the commit there, with a link to the run."
                error
            />
            <div class="told flex flex-col gap-5">
                <Field
                    name="status_token"
                    label="Token of the forge"
                    kind="password"
                    required=false
                    autocomplete="new-password"
                    help=token_help
                    error
                />
                <Field
                    name="spec[status_api]"
                    label="Address of its API"
                    value=status_api
                    required=false
                    placeholder="https://git.example.org/api/v1"
                    help="Where it is not where it usually is."
                    error
                />
            </div>
        </section>
        <details class="card group p-5" open=is_moved>
            <summary class="cursor-pointer text-lg font-semibold">"Limits and more"</summary>
            <div class="mt-5 flex flex-col gap-5">
                <div class="grid gap-5 sm:grid-cols-2">
                    <Field
                        name="spec[timeout_minutes]"
                        label="Minutes"
                        kind="number"
                        value=limits.timeout_minutes.to_string()
                        help="Longer runs are ended."
                        error
                    />
                    <Field
                        name="spec[memory_mib]"
                        label="Memory, MiB"
                        kind="number"
                        value=limits.memory_mib.to_string()
                        help="Of all that a run starts; 0 for no limit."
                        error
                    />
                    <Field
                        name="spec[cores]"
                        label="Cores of a build"
                        kind="number"
                        value=limits.cores.to_string()
                        help="0 for all of the node."
                        error
                    />
                    <Field
                        name="spec[jobs]"
                        label="Builds at a time"
                        kind="number"
                        value=limits.jobs.to_string()
                        error
                    />
                    <Field
                        name="spec[log_mib]"
                        label="Log, MiB"
                        kind="number"
                        value=limits.log_mib.to_string()
                        help="A run that writes more is ended."
                        error
                    />
                    <Field
                        name="spec[runs]"
                        label="Runs at a time"
                        kind="number"
                        value=limits.runs.to_string()
                        error
                    />
                    <Field
                        name="spec[keep_runs]"
                        label="Runs to keep pinned"
                        kind="number"
                        value=keep_runs.to_string()
                        help="What the newest successful runs made stays whatever the cache's rules say; 0 pins nothing."
                        error
                    />
                </div>
                <TextArea
                    name="spec[systems]"
                    label="Systems"
                    value=systems
                    help="A line each, such as x86_64-linux; none for that of the node."
                    error
                />
                <TextArea
                    name="spec[substituters]"
                    label="More caches to fetch from"
                    value=substituters
                    placeholder="https://cache.nixos.org"
                    help="A URL in each line. The cache that is filled is always asked."
                    error
                />
                <TextArea
                    name="spec[trusted_keys]"
                    label="Their keys"
                    value=trusted_keys
                    placeholder="cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY="
                    help="A line each."
                    error
                />
                <Checkbox
                    name="spec[full_history]"
                    label="Fetch all commits"
                    checked=full_history
                    help="For flakes that count them. Usually only the newest is fetched."
                    error
                />
            </div>
        </details>
    }
}
