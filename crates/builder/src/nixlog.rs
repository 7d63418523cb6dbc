//! What Nix says with `--log-format internal-json`: a line each, `@nix ` and an object. Activities have numbers; their lines, and their
//! ends, come under them.

use iglu_api::ansi;
use serde::Deserialize;
use serde_json::Value;

/// Types of activities and results that are looked at; the numbers are Nix's own (`logging.hh`).
const BUILD: u64 = 105;
const SUBSTITUTE: u64 = 108;
const BUILD_LOG_LINE: u64 = 101;
const SET_PHASE: u64 = 104;
const POST_BUILD_LOG_LINE: u64 = 107;
/// Messages up to this level are for people: errors, warnings, notices, and what is done.
const INFO: u64 = 3;

/// Something that Nix said and that is worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    BuildBegan {
        id: u64,
        drv: String,
    },
    SubstituteBegan {
        path: String,
    },
    /// A line of what an activity does.
    Line {
        id: u64,
        text: String,
    },
    Ended {
        id: u64,
    },
    Message {
        is_error: bool,
        text: String,
    },
}

#[derive(Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
enum Record {
    Start {
        id: u64,
        #[serde(rename = "type")]
        kind: u64,
        #[serde(default)]
        fields: Vec<Value>,
    },
    Stop {
        id: u64,
    },
    Result {
        id: u64,
        #[serde(rename = "type")]
        kind: u64,
        #[serde(default)]
        fields: Vec<Value>,
    },
    Msg {
        level: u64,
        msg: String,
    },
}

/// Reads one line that Nix wrote; `None` for what says nothing here. A line in another form, as programs that Nix starts write them,
/// is a message.
pub fn read(line: &str) -> Option<Said> {
    let Some(json) = line.strip_prefix("@nix ") else {
        let text = line.to_owned();
        return (!text.is_empty()).then_some(Said::Message { is_error: false, text });
    };
    match serde_json::from_str(json).ok()? {
        Record::Start { id, kind: BUILD, fields } => Some(Said::BuildBegan { id, drv: text(&fields)? }),
        Record::Start { kind: SUBSTITUTE, fields, .. } => Some(Said::SubstituteBegan { path: text(&fields)? }),
        Record::Start { .. } => None,
        Record::Stop { id } => Some(Said::Ended { id }),
        Record::Result { id, kind: BUILD_LOG_LINE | POST_BUILD_LOG_LINE, fields } => {
            Some(Said::Line { id, text: text(&fields)? })
        }
        Record::Result { id, kind: SET_PHASE, fields } => {
            Some(Said::Line { id, text: format!("\u{1b}[2mphase {}\u{1b}[0m", text(&fields)?) })
        }
        Record::Result { .. } => None,
        Record::Msg { level, msg } => {
            (level <= INFO && !msg.is_empty()).then_some(Said::Message { is_error: level == 0, text: msg })
        }
    }
}

fn text(fields: &[Value]) -> Option<String> {
    fields.first()?.as_str().map(str::to_owned)
}

/// Text of several lines without its escape sequences.
pub fn plain(text: &str) -> String {
    text.lines().map(ansi::plain).collect::<Vec<_>>().join("\n")
}

/// The derivation that an error says failed to build, and how.
pub fn failure(message: &str) -> Option<(String, String)> {
    let message = plain(message);
    let begin = message.find("/nix/store/")?;
    let drv = message[begin..].split(['\'', '"', ' ', '\n']).next()?.trim_end_matches(['\'', '.', ',']);
    let how = ["failed with", "failed due to", "timed out", "failed:", "hash mismatch"].into_iter().find_map(|word| {
        message.find(word).map(|at| message[at..].lines().next().unwrap_or_default().trim_end_matches([';', ':']))
    });
    drv.ends_with(".drv").then(|| how.map(|how| (drv.to_owned(), how.to_owned()))).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nix_says() {
        let drv = "/nix/store/x-a.drv";
        for (line, said) in [
            (
                r#"@nix {"action":"start","fields":["/nix/store/x-a.drv","",1,1],"id":7,"level":3,"parent":0,"text":"building","type":105}"#,
                Some(Said::BuildBegan { id: 7, drv: drv.to_owned() }),
            ),
            (
                r#"@nix {"action":"result","fields":["about to fail"],"id":7,"type":101}"#,
                Some(Said::Line { id: 7, text: "about to fail".to_owned() }),
            ),
            (r#"@nix {"action":"stop","id":7}"#, Some(Said::Ended { id: 7 })),
            (r#"@nix {"action":"start","id":8,"level":6,"type":0,"text":"querying info"}"#, None),
            (r#"@nix {"action":"result","fields":[1,2,3,4],"id":7,"type":105}"#, None),
            (
                r#"@nix {"action":"msg","level":0,"msg":"error: bad"}"#,
                Some(Said::Message { is_error: true, text: "error: bad".to_owned() }),
            ),
            (r#"@nix {"action":"msg","level":5,"msg":"chatty"}"#, None),
            (r#"@nix {"action":"new in some later release"}"#, None),
            ("@nix not json", None),
            ("a plain line", Some(Said::Message { is_error: false, text: "a plain line".to_owned() })),
        ] {
            assert_eq!(read(line), said, "{line}");
        }
    }

    #[test]
    fn failures() {
        let says = "\u{1b}[31;1merror:\u{1b}[0m builder for '\u{1b}[1m/nix/store/x-a.drv\u{1b}[0m' failed with exit code 3;\n  last 1 log lines:";
        assert_eq!(failure(says), Some(("/nix/store/x-a.drv".to_owned(), "failed with exit code 3".to_owned())));
        assert_eq!(failure("error: something else"), None);
    }
}
