//! The upload of releases before 1.3: the whole file in one request that tells no length, then its narinfo. Only the
//! file's hash ties the two together.

use super::packed::Packed;
use super::push::{claims, counted};
use super::wire::Compression;
use super::{Client, Error, PushOptions, Pushed, UploadHost};
use crate::object::Object;

impl Client {
    /// One attempt at one path.
    pub(super) async fn upload_whole(
        &self,
        cache: &str,
        object: &Object,
        compression: Compression,
        options: &PushOptions,
    ) -> Result<Pushed, Error> {
        let broken = |cause: std::io::Error| Error::Nar { path: object.path.clone(), cause: cause.to_string() };
        // The host depends on a size that the client looks up in its store.
        let nar_size = match (&object.known, self.profile.upload_host) {
            (Some((_, size)), _) => *size,
            (None, UploadHost::CacheOrApi) => object.measure().await.map_err(broken)?.1,
            (None, _) => 0,
        };
        let packed = Packed::open(&object.nar, compression, options.level.unwrap_or(2)).map_err(broken)?;
        let packed = self.post_nar(cache, compression, nar_size, packed).await?;
        if options.faults.stop_after.is_some() {
            return Err(Error::Stopped { parts: 0 });
        }
        let pushed = counted(object, &packed.finish().await.map_err(broken)?, 0)?;
        let body = claims(object, &pushed, options);
        self.post_narinfo(cache, &body).await?;
        if options.faults.repeat_complete {
            self.post_narinfo(cache, &body).await?;
        }
        Ok(pushed)
    }
}
