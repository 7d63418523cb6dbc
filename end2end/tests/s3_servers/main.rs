//! What the two S3 servers do that storage is tested with, asked by the client that storage uses; and what that client makes
//! of faults. Where a server is not as S3 is, this says so.

#![allow(clippy::unwrap_used)]

mod faults;
mod objects;
mod uploads;

use bytes::Bytes;
use http::Method;
use iglu_end2end::digest::Random;
use iglu_end2end::http::{Credentials, Http, Reply};
use iglu_end2end::s3::S3Server;
use object_store::aws::AmazonS3;
use object_store::{Result, RetryConfig};

/// The least that a part may have which is not the last.
const PART: usize = 5 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3s,
    Moto,
}

/// Each of these functions as a test before each server.
macro_rules! before_both {
    ($($file:ident: $($name:ident),*;)*) => {
        mod s3s { $($(#[tokio::test] async fn $name() {
            crate::$file::$name(&mut crate::S3Server::s3s_fs().await.unwrap(), crate::Kind::S3s).await;
        })*)* }
        mod moto { $($(#[tokio::test] async fn $name() {
            crate::$file::$name(&mut crate::S3Server::moto().await.unwrap(), crate::Kind::Moto).await;
        })*)* }
    };
}

before_both! {
    objects: objects_and_ranges, listings_and_bulk_deletion, copies, conditional_puts, checksums, credentials_and_buckets,
        looking_and_breaking_from_behind;
    uploads: uploads_in_parts, uploads_that_go_wrong, presigned_urls, presigned_digests;
    faults: signatures_through_the_proxy, faults_that_the_client_survives, faults_that_the_client_reports;
}

/// A client that shows every error at once.
fn impatient(server: &S3Server, endpoint: &str) -> AmazonS3 {
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    server.builder().with_endpoint(endpoint).with_retry(retry).build().unwrap()
}

fn part() -> Bytes {
    Random::new(5).bytes(PART).into()
}

/// The answer's status, which object_store's errors tell in their text alone.
fn status<T: std::fmt::Debug>(result: &Result<T>) -> Option<u16> {
    let text = format!("{:?}", result.as_ref().unwrap_err());
    text.split("status: ").nth(1)?.get(..3)?.parse().ok()
}

async fn call(method: Method, url: &str, headers: &[(&str, &str)], body: &'static str) -> Reply {
    Http::new().call(method, url, &Credentials::None, headers, body).await.unwrap()
}
