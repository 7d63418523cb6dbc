//! Snippets to copy: what stands in the block is exactly what is copied.

use super::copy::Copy;
use leptos::prelude::*;

#[component]
pub fn Code(
    /// Names the block for tests and for links to it: `snippet-nix-conf`.
    #[prop(into)]
    id: Oco<'static, str>,
    /// Where the text belongs: a file's name, or "shell".
    #[prop(into)]
    place: String,
    #[prop(into)] text: String,
) -> impl IntoView {
    // Remarks are quieter; line ends stay inside the lines, so that the block's text is the snippet.
    let lines = text
        .split_inclusive('\n')
        .map(|line| {
            let class = if line.trim_start().starts_with('#') { "text-dim" } else { "" };
            view! { <span class=class>{line.to_owned()}</span> }
        })
        .collect_view();
    let what = if place == "shell" { "commands".to_owned() } else { place.clone() };
    view! {
        <figure class="relative rounded-lg border border-line bg-sunken">
            <figcaption class="flex items-center justify-between gap-2 border-b border-line py-1 pr-1 pl-4 text-xs text-dim">
                <span class="font-mono">{place}</span>
                <Copy text=text what=what.clone() worded=true />
            </figcaption>
            // Focusable, so that the keyboard can scroll a long line.
            <pre class="code" id=id.clone() data-testid=id tabindex="0" role="group" aria-label=what>
                <code>{lines}</code>
            </pre>
        </figure>
    }
}
