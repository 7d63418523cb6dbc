//! What may happen to a cache, as small values: each means something whatever came before it, so that a sequence from which some were
//! taken out is a sequence still. Numbers name things, caches, uploads and removals modulo how many there are.

use crate::reconcile::Reconciler;

/// How a path is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// As cachix: two parts, then complete.
    Parts(Form),
    /// As nix copy: the file by its name, then the narinfo.
    Put(Form),
    /// As attic: the NAR in one request, packed by the server.
    Stream,
}

/// How the file of a NAR is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Raw,
    Zstd,
}

impl Form {
    pub const ALL: [Form; 2] = [Form::Raw, Form::Zstd];
}

/// The order in which a closure comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    ReferencesFirst,
    ReferrersFirst,
    Turned(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    Absent,
    Short,
    Flipped,
}

/// Where another process gets its turn in the middle of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A collection is planned and takes nothing yet.
    Collecting,
    /// A push is verified and stored, and not committed.
    Committing,
    /// A push is committed, and this process does not know it.
    Committed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Push {
        cache: u8,
        thing: u8,
        way: Way,
    },
    PushClosure {
        cache: u8,
        thing: u8,
        way: Way,
        order: Order,
    },
    /// The upload is created, and nothing more.
    Begin {
        cache: u8,
        thing: u8,
        form: Form,
    },
    Part {
        upload: u8,
        part: u8,
    },
    Complete {
        upload: u8,
    },
    Abort {
        upload: u8,
    },
    PutFile {
        cache: u8,
        thing: u8,
        form: Form,
    },
    PutNarinfo {
        cache: u8,
        thing: u8,
        form: Form,
    },
    /// A pusher hears what of a closure is missing…
    AskMissing {
        cache: u8,
        thing: u8,
    },
    /// …and pushes that and no more, perhaps much later.
    PushMissing {
        asked: u8,
    },
    Pull {
        cache: u8,
        thing: u8,
    },
    Pin {
        cache: u8,
        thing: u8,
        name: u8,
        keep: u8,
    },
    Remove {
        cache: u8,
        thing: u8,
        with_referrers: bool,
    },
    Undo {
        removal: u8,
    },
    Rules {
        cache: u8,
        rules: u8,
    },
    AskCollection {
        cache: u8,
        is_confirmed: bool,
    },
    /// Asks by hand and collects at once.
    Collect {
        cache: u8,
    },
    Harm {
        file: u8,
        harm: Harm,
    },
    /// Every file is what it was.
    BringBack,
    Check {
        is_full: bool,
        repairs: bool,
    },
    Work(Reconciler),
    Recreate {
        cache: u8,
    },
    Advance {
        hours: u16,
    },
    /// With `is_crash`, nothing is written down before.
    Restart {
        is_crash: bool,
    },
    Away {
        is_empty: bool,
    },
    Back,
    /// Another process pushes, pins or collects in the middle of a push or a collection.
    Meanwhile {
        moment: Moment,
        cache: u8,
        outer: u8,
        inner: u8,
        kind: u8,
    },
}

/// SplitMix64: the same numbers from the same seed, everywhere and for ever.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn byte(&mut self) -> u8 {
        (self.next() >> 40) as u8
    }

    pub fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn way(&mut self) -> Way {
        let form = self.form();
        self.of(&[Way::Parts(form), Way::Put(form), Way::Stream])
    }

    fn form(&mut self) -> Form {
        self.of(&Form::ALL)
    }

    /// One thing that happens. Storage is rarely away, and comes back soon.
    pub fn op(&mut self) -> Op {
        let (cache, thing) = (self.byte(), self.byte());
        match self.below(1000) {
            0..130 => Op::Push { cache, thing, way: self.way() },
            130..250 => {
                let turn = self.byte();
                let order = self.of(&[Order::ReferencesFirst, Order::ReferrersFirst, Order::Turned(turn)]);
                Op::PushClosure { cache, thing, way: self.way(), order }
            }
            250..270 => Op::Begin { cache, thing, form: self.form() },
            270..290 => Op::Part { upload: self.byte(), part: self.byte() },
            290..310 => Op::Complete { upload: self.byte() },
            310..315 => Op::Abort { upload: self.byte() },
            315..335 => Op::PutFile { cache, thing, form: self.form() },
            335..355 => Op::PutNarinfo { cache, thing, form: self.form() },
            355..375 => Op::AskMissing { cache, thing },
            375..400 => Op::PushMissing { asked: self.byte() },
            400..460 => Op::Pull { cache, thing },
            460..490 => Op::Pin { cache, thing, name: self.byte(), keep: self.byte() },
            490..540 => Op::Remove { cache, thing, with_referrers: self.below(3) > 0 },
            540..575 => Op::Undo { removal: self.byte() },
            575..600 => Op::Rules { cache, rules: self.byte() },
            600..610 => Op::AskCollection { cache, is_confirmed: self.coin() },
            610..660 => Op::Collect { cache },
            660..700 => Op::Harm { file: self.byte(), harm: self.of(&[Harm::Absent, Harm::Short, Harm::Flipped]) },
            700..710 => Op::BringBack,
            710..735 => Op::Check { is_full: self.coin(), repairs: self.below(3) > 0 },
            735..835 => Op::Work(self.of(&[
                Reconciler::ActivityFlush,
                Reconciler::DirectoryRefresh,
                Reconciler::StorageWatch,
                Reconciler::Resign,
                Reconciler::Held,
                Reconciler::Suspects,
                Reconciler::Suspects,
                Reconciler::Scrub,
                Reconciler::Scrub,
                Reconciler::Retain,
                Reconciler::Retain,
                Reconciler::Collect,
                Reconciler::Collect,
                Reconciler::Purge,
                Reconciler::Purge,
                Reconciler::Files,
            ])),
            // It looks into two thousand folders.
            835..838 => Op::Work(Reconciler::Sweep),
            838..845 => Op::Recreate { cache },
            845..935 => {
                let (hours, days) = (self.below(30) + 1, 24 * (self.below(40) + 1));
                Op::Advance { hours: if self.below(3) > 0 { hours } else { days } as u16 }
            }
            935..945 => Op::Restart { is_crash: self.coin() },
            945..950 => Op::Away { is_empty: self.coin() },
            950..970 => Op::Back,
            _ => {
                let moment = self.of(&[Moment::Collecting, Moment::Committing, Moment::Committed]);
                Op::Meanwhile { moment, cache, outer: thing, inner: self.byte(), kind: self.byte() }
            }
        }
    }
}
