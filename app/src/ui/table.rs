//! Tables that become lists of cards on a phone. Roles are written out because that change of display hides them.

use leptos::prelude::*;

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub word: &'static str,
    pub number: bool,
    /// Left out where the table is narrow, and its cells, which are of the class `quiet`, with it.
    pub quiet: bool,
}

impl Column {
    /// The same, left out where the table is narrow.
    pub const fn quiet(self) -> Column {
        Column { quiet: true, ..self }
    }
}

/// A column of words.
pub const fn words(word: &'static str) -> Column {
    Column { word, number: false, quiet: false }
}

/// A column of numbers.
pub const fn numbers(word: &'static str) -> Column {
    Column { word, number: true, quiet: false }
}

#[component]
pub fn Table(
    /// What is listed, for readers.
    caption: &'static str,
    columns: &'static [Column],
    children: Children,
) -> impl IntoView {
    let heads = columns
        .iter()
        .map(|column| {
            let class = match (column.number, column.quiet) {
                (true, true) => "number quiet",
                (true, false) => "number",
                (false, true) => "quiet",
                (false, false) => "",
            };
            let word = if column.word.is_empty() {
                view! { <span class="sr-only">"Actions"</span> }.into_any()
            } else {
                column.word.into_any()
            };
            view! {
                <th scope="col" role="columnheader" class=class>
                    {word}
                </th>
            }
        })
        .collect_view();
    view! {
        <div class="card overflow-hidden">
            <table class="table" role="table">
                <caption class="sr-only">{caption}</caption>
                <thead role="rowgroup">
                    <tr role="row">{heads}</tr>
                </thead>
                <tbody role="rowgroup">{children()}</tbody>
            </table>
        </div>
    }
}

#[component]
pub fn Row(#[prop(default = "")] class: &'static str, children: Children) -> impl IntoView {
    view! {
        <tr role="row" class=class>
            {children()}
        </tr>
    }
}

/// A cell; `label` says what it is where the table is a list of cards.
#[component]
pub fn Cell(
    #[prop(optional)] label: Option<&'static str>,
    #[prop(default = "")] class: &'static str,
    children: Children,
) -> impl IntoView {
    view! {
        <td role="cell" class=class data-label=label>
            {children()}
        </td>
    }
}
