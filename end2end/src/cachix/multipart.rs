//! The upload in parts, of releases since 1.3: the NAR is read and compressed while a handful of parts are under way.
//! Holds no more than those parts in memory, whatever the size of the NAR.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::packed::Packed;
use super::push::{claims, counted};
use super::wire::{Complete, CompletedPart, Compression, Created};
use super::{Client, Error, Faults, PushOptions, Pushed};
use crate::digest::{self, Random};
use crate::object::Object;

impl Client {
    /// One attempt at one path.
    pub(super) async fn upload_in_parts(
        &self,
        cache: &str,
        object: &Object,
        compression: Compression,
        options: &PushOptions,
    ) -> Result<Pushed, Error> {
        let faults = &options.faults;
        let broken = |cause: std::io::Error| Error::Nar { path: object.path.clone(), cause: cause.to_string() };
        let upload = self.create(cache, compression).await?;
        let mut packed = Packed::open(&object.nar, compression, options.level.unwrap_or(2)).map_err(broken)?;
        let mut parts = Parts::new(self, cache, &upload, faults);
        loop {
            let chunk = packed.chunk(self.profile.chunk_size).await.map_err(broken)?;
            let last = chunk.len() < self.profile.chunk_size;
            parts.send(chunk).await?;
            if faults.stop_after == Some(parts.sent) {
                parts.finish().await?;
                return Err(Error::Stopped { parts: parts.sent });
            }
            if last {
                break;
            }
        }
        let sent = parts.finish().await?;
        let pushed = counted(object, &packed.finish().await.map_err(broken)?, sent.count)?;
        let body = Complete { parts: sent.etags, nar_info_create: claims(object, &pushed, options) };
        self.complete(cache, &upload, &body).await?;
        if faults.repeat_complete {
            self.complete(cache, &upload, &body).await?;
        }
        let late_put = match (faults.late_put, sent.first) {
            (true, Some((url, md5, bytes))) => Some(match self.put_once(&url, &md5, bytes).await {
                Ok(_) => "accepted".to_owned(),
                Err(error) => error.to_string(),
            }),
            _ => None,
        };
        Ok(Pushed { late_put, ..pushed })
    }
}

/// The parts of one upload: a few in flight, the rest not yet read.
struct Parts<'a> {
    client: &'a Client,
    cache: &'a str,
    upload: &'a Created,
    faults: &'a Faults,
    permits: Arc<Semaphore>,
    running: JoinSet<Result<(u32, Option<String>), Error>>,
    waiting: Vec<(u32, Bytes)>,
    etags: Vec<(u32, Option<String>)>,
    first: Arc<Mutex<Option<(String, String, Bytes)>>>,
    sent: u32,
}

struct Sent {
    count: u32,
    etags: Option<Vec<CompletedPart>>,
    first: Option<(String, String, Bytes)>,
}

impl<'a> Parts<'a> {
    fn new(client: &'a Client, cache: &'a str, upload: &'a Created, faults: &'a Faults) -> Self {
        Self {
            client,
            cache,
            upload,
            faults,
            permits: Arc::new(Semaphore::new(client.profile.parts_at_once)),
            running: JoinSet::new(),
            waiting: Vec::new(),
            etags: Vec::new(),
            first: Arc::default(),
            sent: 0,
        }
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.sent += 1;
        if self.faults.shuffle_parts.is_none() {
            return self.start(self.sent, bytes).await;
        }
        self.waiting.push((self.sent, bytes));
        // Twice the parts in flight are enough to send the last first, and still few enough to hold.
        if self.waiting.len() >= 2 * self.client.profile.parts_at_once { self.release().await } else { Ok(()) }
    }

    async fn release(&mut self) -> Result<(), Error> {
        let mut waiting = std::mem::take(&mut self.waiting);
        Random::new(self.faults.shuffle_parts.unwrap_or_default()).shuffle(&mut waiting);
        for (number, bytes) in waiting {
            self.start(number, bytes).await?;
        }
        Ok(())
    }

    async fn start(&mut self, number: u32, bytes: Bytes) -> Result<(), Error> {
        let permit = self.permits.clone().acquire_owned().await;
        while let Some(ended) = self.running.try_join_next() {
            self.ended(ended).await?;
        }
        let (client, cache, upload) = (self.client.clone(), self.cache.to_owned(), self.upload.clone());
        let (faults, first) = (self.faults.clone(), self.first.clone());
        self.running.spawn(async move {
            let _permit = permit;
            send_part(&client, &cache, &upload, &faults, number, bytes, &first).await
        });
        Ok(())
    }

    async fn ended(
        &mut self,
        ended: Result<Result<(u32, Option<String>), Error>, tokio::task::JoinError>,
    ) -> Result<(), Error> {
        match ended.map_err(|cause| Error::Transport { call: "part", cause: cause.to_string() })? {
            Ok(part) => {
                self.etags.push(part);
                Ok(())
            }
            Err(error) => {
                // Only a refused API call leads to abort; a failed PUT does not.
                if matches!(&error, Error::Status { call: "part", .. }) {
                    self.running.shutdown().await;
                    let _ = self.client.abort(self.cache, self.upload).await;
                }
                Err(error)
            }
        }
    }

    async fn finish(&mut self) -> Result<Sent, Error> {
        self.release().await?;
        while let Some(ended) = self.running.join_next().await {
            self.ended(ended).await?;
        }
        let mut etags = std::mem::take(&mut self.etags);
        etags.sort_by_key(|(number, _)| *number);
        let named = |(part_number, etag): (u32, Option<String>)| etag.map(|e_tag| CompletedPart { part_number, e_tag });
        let etags = if self.faults.ignore_etags { None } else { etags.into_iter().map(named).collect() };
        let first = self.first.lock().ok().and_then(|mut first| first.take());
        Ok(Sent { count: self.sent, etags, first })
    }
}

async fn send_part(
    client: &Client,
    cache: &str,
    upload: &Created,
    faults: &Faults,
    number: u32,
    bytes: Bytes,
    first: &Mutex<Option<(String, String, Bytes)>>,
) -> Result<(u32, Option<String>), Error> {
    let md5 = if faults.wrong_part_md5 == Some(number) {
        digest::md5_base64(b"other bytes")
    } else {
        digest::md5_base64(&bytes)
    };
    let url = client.part(cache, upload, number, &md5).await?.upload_url;
    if faults.spoil_first_put == Some(number) {
        let mut spoilt = bytes.to_vec();
        spoilt.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        match client.put_once(&url, &md5, spoilt.into()).await {
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(Error::Decode { call: "PUT", cause: "spoilt bytes were accepted".to_owned() }),
        }
    }
    let mut etag = client.put(&url, &md5, bytes.clone()).await?;
    if faults.repeat_put {
        etag = client.put(&url, &md5, bytes.clone()).await?;
    }
    if number == 1
        && faults.late_put
        && let Ok(mut first) = first.lock()
    {
        *first = Some((url, md5, bytes));
    }
    Ok((number, etag))
}
