//! Who reads a cache, and how long it waits: counted in memory without keeping an address, day by day.

use iglu_api::{Timestamp, statistics::ReaderDay};
use std::{
    hash::Hasher,
    net::IpAddr,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::Duration,
};

/// Registers of a sketch: of a thousand different clients it counts 968 to 1033 in two days of three.
const REGISTERS: usize = 1024;
/// Bits of a hash that choose the register.
const CHOOSING: u32 = REGISTERS.trailing_zeros();
/// Steps of the histogram. The first one ends at 64 µs, each is twice as long as the one before, the last one has no end.
const WAITS: usize = 20;
const FIRST_WAIT: u64 = 64;

/// What an address is hashed with on one day. It is made from the master key, so that servers that share it count together, and
/// nobody without it can try addresses out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Salt {
    /// The beginning of the day, in milliseconds.
    pub day: i64,
    key: u64,
}

impl Salt {
    pub fn new(day: i64, secret: &str) -> Salt {
        let hash = blake3::hash(secret.as_bytes());
        let mut key = [0; 8];
        key.copy_from_slice(&hash.as_bytes()[..8]);
        Salt { day, key: u64::from_le_bytes(key) }
    }

    /// The beginning of the day of a moment.
    pub fn day_of(at: Timestamp) -> i64 {
        at.0 - at.0.rem_euclid(Timestamp::DAY)
    }

    #[allow(deprecated, reason = "the one hash of std whose values are the same in every process")]
    fn hash(self, address: IpAddr) -> u64 {
        let mut hasher = std::hash::SipHasher::new_with_keys(self.key, 0);
        match address.to_canonical() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        hasher.finish()
    }
}

/// The readers of one cache since the last flush: a HyperLogLog sketch and a histogram. Of one size, whatever comes.
#[derive(Debug)]
pub(crate) struct Readers {
    registers: Box<[AtomicU8; REGISTERS]>,
    waits: Box<[AtomicU64; WAITS]>,
}

impl Default for Readers {
    fn default() -> Readers {
        Readers {
            registers: Box::new([const { AtomicU8::new(0) }; REGISTERS]),
            waits: Box::new([const { AtomicU64::new(0) }; WAITS]),
        }
    }
}

impl Readers {
    pub fn note(&self, salt: Salt, address: Option<IpAddr>, waited: Duration) {
        if let Some(address) = address {
            let hash = salt.hash(address);
            let register = &self.registers[(hash >> (64 - CHOOSING)) as usize];
            let rank = ((hash << CHOOSING) | 1).leading_zeros() as u8 + 1;
            // Most readers are known: they only read.
            if register.load(Ordering::Relaxed) < rank {
                register.fetch_max(rank, Ordering::Relaxed);
            }
        }
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        let step = (micros / FIRST_WAIT).checked_ilog2().map_or(0, |twos| twos as usize + 1).min(WAITS - 1);
        self.waits[step].fetch_add(1, Ordering::Relaxed);
    }

    /// What came since the last time; `None` where nothing did.
    pub fn take(&self) -> Option<Reading> {
        let reading = Reading {
            registers: self.registers.iter().map(|register| register.swap(0, Ordering::Relaxed)).collect(),
            waits: self.waits.iter().map(|count| count.swap(0, Ordering::Relaxed)).collect(),
        };
        (reading != Reading::default()).then_some(reading)
    }

    /// What is counted and not taken yet.
    pub fn look(&self) -> Reading {
        Reading {
            registers: self.registers.iter().map(|register| register.load(Ordering::Relaxed)).collect(),
            waits: self.waits.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
        }
    }

    /// Gives back what could not be written.
    pub fn give_back(&self, reading: &Reading) {
        for (register, rank) in self.registers.iter().zip(&reading.registers) {
            register.fetch_max(*rank, Ordering::Relaxed);
        }
        for (known, count) in self.waits.iter().zip(&reading.waits) {
            known.fetch_add(*count, Ordering::Relaxed);
        }
    }
}

/// The readers of a cache in some time, as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    registers: Vec<u8>,
    waits: Vec<u64>,
}

impl Default for Reading {
    fn default() -> Reading {
        Reading { registers: vec![0; REGISTERS], waits: vec![0; WAITS] }
    }
}

impl Reading {
    /// What the database has. Bytes of another length, which a later version may write, are as if nothing were known.
    pub fn from_bytes(clients: &[u8], waits: &[u8]) -> Reading {
        let mut reading = Reading::default();
        if clients.len() == REGISTERS {
            reading.registers.copy_from_slice(clients);
        }
        if waits.len() == WAITS * 8 {
            for (count, bytes) in reading.waits.iter_mut().zip(waits.chunks_exact(8)) {
                *count = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            }
        }
        reading
    }

    pub fn clients_bytes(&self) -> &[u8] {
        &self.registers
    }

    pub fn waits_bytes(&self) -> Vec<u8> {
        self.waits.iter().flat_map(|count| count.to_le_bytes()).collect()
    }

    pub fn add(&mut self, other: &Reading) {
        for (register, rank) in self.registers.iter_mut().zip(&other.registers) {
            *register = (*register).max(*rank);
        }
        for (known, count) in self.waits.iter_mut().zip(&other.waits) {
            *known += count;
        }
    }

    /// About how many different clients there were.
    fn clients(&self) -> u64 {
        let count = REGISTERS as f64;
        let empty = self.registers.iter().filter(|rank| **rank == 0).count();
        let sum: f64 = self.registers.iter().map(|rank| (-f64::from(*rank)).exp2()).sum();
        let estimate = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
        // Few clients leave registers empty, whose number says more.
        let estimate =
            if estimate <= 2.5 * count && empty > 0 { count * (count / empty as f64).ln() } else { estimate };
        estimate.round() as u64
    }

    /// The time within which this share of answers was ready, in microseconds, at most twice too long; 0 without answers.
    fn wait_micros(&self, share: f64) -> u64 {
        let total: u64 = self.waits.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (step, count) in self.waits.iter().enumerate() {
            seen += count;
            if total > 0 && seen >= wanted {
                return FIRST_WAIT << step;
            }
        }
        0
    }

    pub fn of_day(&self, day: i64) -> ReaderDay {
        ReaderDay {
            at: Timestamp(day),
            clients: self.clients(),
            answers: self.waits.iter().sum(),
            median_micros: self.wait_micros(0.5),
            slow_micros: self.wait_micros(0.99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(addresses: impl Iterator<Item = u32>) -> u64 {
        let (readers, salt) = (Readers::default(), Salt::new(0, "secret"));
        for address in addresses {
            readers.note(salt, Some(IpAddr::V4(address.into())), Duration::ZERO);
        }
        readers.take().unwrap_or_default().clients()
    }

    #[test]
    fn different_clients_are_counted_nearly_right() {
        assert_eq!(counted(std::iter::empty()), 0);
        assert_eq!(counted([1, 1, 1].into_iter()), 1);
        assert_eq!(counted(0..10), 10);
        for many in [100, 1_000, 5_000, 100_000] {
            let found = counted((0..many).chain(0..many / 2));
            assert!(found.abs_diff(many.into()) * 10 < u64::from(many), "{found} of {many}");
        }
    }

    #[test]
    fn servers_count_together_and_days_apart() {
        let (one, two) = (Readers::default(), Readers::default());
        let salt = Salt::new(0, "secret");
        for address in 0..100_u32 {
            one.note(salt, Some(IpAddr::V4(address.into())), Duration::ZERO);
            two.note(salt, Some(IpAddr::V4((address + 50).into())), Duration::ZERO);
        }
        // The same client by its other name.
        one.note(salt, Some("::ffff:0.0.0.7".parse().unwrap()), Duration::ZERO);
        let mut both = one.take().unwrap();
        both.add(&two.take().unwrap());
        assert!(both.clients().abs_diff(150) < 10, "{}", both.clients());
        assert!(one.take().is_none(), "taken");
        let back = Reading::from_bytes(both.clients_bytes(), &both.waits_bytes());
        assert_eq!(back, both);
        assert_ne!(Salt::new(0, "a").hash(IpAddr::V4(7.into())), Salt::new(0, "b").hash(IpAddr::V4(7.into())));
    }

    #[test]
    fn waits_have_their_steps() {
        let (readers, salt) = (Readers::default(), Salt::new(0, ""));
        for micros in [0, 63, 64, 127, 128, 1_000] {
            readers.note(salt, None, Duration::from_micros(micros));
        }
        readers.note(salt, None, Duration::from_secs(3600));
        let day = readers.take().unwrap().of_day(0);
        assert_eq!((day.answers, day.clients), (7, 0));
        assert_eq!((day.median_micros, day.slow_micros), (128, 64 << 19));
        assert_eq!(Reading::default().of_day(0).slow_micros, 0);
    }
}
