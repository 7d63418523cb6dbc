//! Colours in lines of a log (ECMA-48, "select graphic rendition"). Whatever else a program writes to move a cursor, set a title or
//! ring a bell is left out: a log is text, wherever it is shown.

use std::fmt::Write;

/// How a part of a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub is_bold: bool,
    pub is_dim: bool,
    pub is_italic: bool,
    pub is_underlined: bool,
    /// Of the sixteen colours of terminals.
    pub colour: Option<u8>,
}

/// A part of a line that looks the same throughout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub style: Style,
    pub text: String,
}

/// The parts of a line. What a carriage return writes over is gone, as on a terminal.
pub fn spans(line: &str) -> Vec<Span> {
    let line = line.trim_end_matches('\r');
    let mut spans: Vec<Span> = Vec::new();
    let (mut style, mut text) = (Style::default(), String::new());
    let mut chars = line.chars().peekable();
    let end = |style: Style, text: &mut String, spans: &mut Vec<Span>| {
        if !text.is_empty() {
            spans.push(Span { style, text: std::mem::take(text) });
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => {
                    let mut parameters = String::new();
                    let last = loop {
                        match chars.next() {
                            Some(c) if ('@'..='~').contains(&c) => break Some(c),
                            Some(c) => parameters.push(c),
                            None => break None,
                        }
                    };
                    if last == Some('m') {
                        let next = selected(style, &parameters);
                        if next != style {
                            end(style, &mut text, &mut spans);
                            style = next;
                        }
                    }
                }
                // Strings for the terminal itself: titles, links, its clipboard. They end with a bell or a string terminator.
                Some(']' | 'P' | 'X' | '^' | '_') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || c == '\u{9c}' {
                            break;
                        }
                        if c == '\u{1b}' {
                            chars.next_if_eq(&'\\');
                            break;
                        }
                    }
                }
                Some('(' | ')' | '#' | ' ') => drop(chars.next()),
                _ => {}
            },
            '\r' => {
                text.clear();
                spans.clear();
            }
            '\t' => text.push('\t'),
            // They turn the text around them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => text.push('\u{fffd}'),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    end(style, &mut text, &mut spans);
    spans
}

/// The style behind a sequence of parameters.
fn selected(mut style: Style, parameters: &str) -> Style {
    let mut numbers = parameters.split([';', ':']).map(|number| match number {
        "" => Some(0),
        number => number.parse::<u8>().ok(),
    });
    while let Some(number) = numbers.next() {
        match number {
            Some(0) => style = Style::default(),
            Some(1) => style.is_bold = true,
            Some(2) => style.is_dim = true,
            Some(3) => style.is_italic = true,
            Some(4) => style.is_underlined = true,
            Some(22) => (style.is_bold, style.is_dim) = (false, false),
            Some(23) => style.is_italic = false,
            Some(24) => style.is_underlined = false,
            Some(n @ 30..=37) => style.colour = Some(n - 30),
            Some(n @ 90..=97) => style.colour = Some(n - 90 + 8),
            Some(39) => style.colour = None,
            // One of 256, or red, green and blue: those that have a name are taken.
            Some(set @ (38 | 48)) => {
                let colour = match numbers.next() {
                    Some(Some(5)) => numbers.next().flatten().filter(|colour| *colour < 16),
                    Some(Some(2)) => {
                        numbers.by_ref().take(3).for_each(drop);
                        None
                    }
                    _ => None,
                };
                if set == 38 {
                    style.colour = colour;
                }
            }
            _ => {}
        }
    }
    style
}

/// A line without anything but its text.
pub fn plain(line: &str) -> String {
    spans(line).into_iter().map(|span| span.text).collect()
}

/// A line for a terminal: its text and colours, and nothing else that a terminal would obey.
pub fn for_terminal(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for Span { style, text } in spans(line) {
        if style == Style::default() {
            out.push_str(&text);
            continue;
        }
        let flags = [(style.is_bold, 1), (style.is_dim, 2), (style.is_italic, 3), (style.is_underlined, 4)];
        let colour = style.colour.map(|colour| if colour < 8 { 30 + colour } else { 82 + colour });
        let numbers = flags.iter().filter(|(on, _)| *on).map(|(_, number)| *number).chain(colour);
        let numbers: Vec<String> = numbers.map(|number| number.to_string()).collect();
        let _ = write!(out, "\u{1b}[{}m{text}\u{1b}[0m", numbers.join(";"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_nothing_else() {
        let red = Style { colour: Some(1), is_bold: true, ..Style::default() };
        let span = |style: Style, text: &str| Span { style, text: text.to_owned() };
        assert_eq!(
            spans("a \u{1b}[1;31merror:\u{1b}[0m <b>bad</b>"),
            [span(Style::default(), "a "), span(red, "error:"), span(Style::default(), " <b>bad</b>")]
        );
        assert_eq!(
            spans("\u{1b}[38;5;9mx\u{1b}[38;2;1;2;3my"),
            [span(Style { colour: Some(9), ..Style::default() }, "x"), span(Style::default(), "y")]
        );
        for (line, text) in [
            ("10%\r20%\rdone", "done"),
            ("dos\r", "dos"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("\u{1b}]52;c;aGk=\u{7}clip", "clip"),
            ("\u{1b}[2J\u{1b}[10;10Hmoved\u{8}\u{7}", "moved"),
            ("\u{1b}(Bx\u{1b}", "x"),
            ("\u{1b}[", ""),
            ("\u{1b}]never ends", ""),
            ("a\tb", "a\tb"),
            ("user\u{202e}nimda", "user\u{fffd}nimda"),
        ] {
            assert_eq!(plain(line), text, "{line:?}");
        }
    }

    #[test]
    fn a_terminal_gets_its_colours_back() {
        assert_eq!(for_terminal("a\u{1b}[1;91mb\u{1b}[2Kc"), "a\u{1b}[1;91mbc\u{1b}[0m");
        assert_eq!(for_terminal("\u{1b}[31m"), "");
    }
}
