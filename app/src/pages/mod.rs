//! The pages, one file each: they call server functions and lay out what comes back.

pub mod account;
pub mod admin;

pub mod admin_users;
pub mod cache;
pub mod cache_create;
pub mod cache_keys;
pub mod cache_members;
pub mod cache_path;
pub mod cache_paths;
pub mod cache_pins;
pub mod cache_removals;
pub mod cache_retention;
pub mod cache_settings;
pub mod cache_statistics;
pub mod cache_table;
pub mod cache_use;
pub mod cache_why;
pub mod caches;
pub mod changes;
pub mod charts;
pub mod first_push;
pub mod frame;
pub mod invitations;
pub mod invite;
pub mod loaded;
pub mod login;
pub mod overview;
pub mod palette;
pub mod path_files;
pub mod path_table;
pub mod problem;
pub mod setup;
pub mod snippet;
pub mod token_create;
pub mod tokens;
