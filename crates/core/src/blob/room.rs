//! Memory for what is on its way to a bucket: so much in all, however many uploads there are. Buffers of whole parts are used
//! again while uploads go on, and given back when the last has ended.

use super::bucket::PART;
use crate::error::{Error, Result};
use bytes::Bytes;
use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Mebibytes in all. Four whole parts keep a fast network busy; small files go many at a time.
const MEBIBYTES: u32 = 32;

/// Hands out buffers.
#[derive(Clone, Debug)]
pub(super) struct Room {
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// A filled buffer; back in its room when the last copy of the `Bytes` made of it is dropped.
struct Filled {
    bytes: Vec<u8>,
    room: Room,
    permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub fn new() -> Room {
        Room { permits: Arc::new(Semaphore::new(MEBIBYTES as usize)), idle: Arc::default() }
    }

    /// The next bytes of a file, at most `most`, once there is room for them. Empty at its end.
    pub async fn read(&self, file: &mut (impl AsyncRead + Unpin), most: u64) -> Result<Bytes> {
        let mebibytes = u32::try_from(most.div_ceil(1 << 20)).unwrap_or(u32::MAX).min(MEBIBYTES);
        let permit = self.permits.clone().acquire_many_owned(mebibytes).await;
        let permit = permit.map_err(|error| Error::internal(error.to_string()))?;
        let idle = if most < PART { None } else { self.idle().pop() };
        let mut bytes = idle.unwrap_or_default();
        bytes.reserve_exact(usize::try_from(most).unwrap_or_default());
        let mut filled = Filled { bytes, room: self.clone(), permit: Some(permit) };
        file.take(most).read_to_end(&mut filled.bytes).await.map_err(Error::storage)?;
        Ok(Bytes::from_owner(filled))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.clear();
        let mut idle = self.room.idle();
        if bytes.capacity() as u64 == PART {
            idle.push(bytes);
        }
        drop(self.permit.take());
        if self.room.permits.available_permits() == MEBIBYTES as usize {
            idle.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MEBIBYTES, PART, Room};
    use std::time::Duration;

    #[tokio::test]
    async fn room_is_shared_and_comes_back() {
        let room = Room::new();
        let mut endless = tokio::io::repeat(7);
        let mut held = Vec::new();
        for _ in 0..u64::from(MEBIBYTES << 20) / PART {
            held.push(room.read(&mut endless, PART).await.unwrap());
        }
        let more = tokio::time::timeout(Duration::from_millis(50), room.read(&mut endless, 1)).await;
        assert!(more.is_err(), "the room is full");
        held.pop();
        assert_eq!(room.idle().len(), 1);
        let small = room.read(&mut endless, 5).await.unwrap();
        assert_eq!(small[..], [7; 5]);
        assert_eq!(room.idle().len(), 1, "a small one takes no buffer of a whole part");
        drop((small, held));
        assert!(room.idle().is_empty(), "memory is given back");
        let larger = room.read(&mut endless, u64::from(MEBIBYTES << 20) + 1).await.unwrap();
        assert_eq!(larger.len() as u64, u64::from(MEBIBYTES << 20) + 1, "alone, and not for ever");
    }
}
