//! The queue: what waits, in its order, and what is under way.

use super::{
    frame::FrameData,
    loaded::when_loaded,
    run_parts::{BuildTabs, RunTable},
};
use crate::{
    calls::run::queue_get,
    live::reload_on,
    ui::{empty::Empty, number::counted, page::PageHead},
};
use iglu_api::{event::LiveEvent, run::RunState};
use leptos::prelude::*;

#[component]
pub fn QueuePage() -> impl IntoView {
    let queue = Resource::new_blocking(|| (), |_| queue_get());
    reload_on(|event| matches!(event, LiveEvent::RunsChanged), move || queue.refetch());
    let frame = expect_context::<FrameData>();
    view! {
        <PageHead title="Queue" />
        {frame.part(|frame| {
            view! { <BuildTabs is_admin=frame.me.is_some_and(|me| me.is_admin) /> }.into_any()
        })}
        {when_loaded(
            queue,
            |runs| {
                let (waiting, under_way): (Vec<_>, Vec<_>) =
                    runs.into_iter().partition(|run| run.state == RunState::Queued);
                let words = format!(
                    "{} under way, {} waiting. Runs of a higher priority go first, then those of builders that had the least.",
                    counted(under_way.len() as u64, "run", "runs"),
                    counted(waiting.len() as u64, "run", "runs"),
                );
                if under_way.is_empty() && waiting.is_empty() {
                    return view! {
                        <div class="card">
                            <Empty sentence="Nothing waits and nothing runs." />
                        </div>
                    }
                    .into_any();
                }
                view! {
                    <div class="flex flex-col gap-6">
                        <p class="text-soft">{words}</p>
                        {(!under_way.is_empty())
                            .then(|| view! { <RunTable caption="Under way" runs=under_way of_several=true /> })}
                        {(!waiting.is_empty())
                            .then(|| view! { <RunTable caption="Waiting" runs=waiting of_several=true /> })}
                    </div>
                }
                .into_any()
            },
        )}
    }
}
