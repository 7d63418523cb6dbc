//! The kit that pages are made of: looks and small behaviour, no calls to the server and no knowledge of caches.

pub mod badge;
pub mod breadcrumb;
pub mod button;
pub mod chart;
pub mod code;
pub mod confirm;
pub mod copy;
pub mod dialog;
pub mod empty;
pub mod fact;
pub mod field;
pub mod form;
pub mod icon;
pub mod keys;
pub mod logo;
pub mod number;
pub mod page;
pub mod pagination;
pub mod stat;
pub mod store_path;
pub mod tab;
pub mod table;
pub mod theme;
pub mod time;
pub mod toast;
pub mod treemap;

/// Text as a query's value.
pub fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
