//! Traces of keys, made up and the same each time: popularity that lasts (Zipf), popularity that
//! passes, scans and loops, and mixtures.

/// What is asked for, in order, and for how large a cache.
pub struct Trace {
    /// What it is called.
    pub name: String,
    /// What is asked for, in order.
    pub keys: Vec<u64>,
    /// Entries of the caches that are tried on it.
    pub sizes: Vec<usize>,
    /// Whether time is measured on it.
    pub is_zipf: bool,
}

/// Keys of the Zipf traces.
const ZIPF_KEYS: usize = 1_000_000;

/// Keys that are asked for once begin here, those of loops and scans as well.
const OTHER: u64 = 1 << 40;

/// Returns all traces; short ones if it should be `quick`.
pub fn all(quick: bool) -> Vec<Trace> {
    let (long, short) = if quick {
        (250_000, 100_000)
    } else {
        (4_000_000, 2_000_000)
    };
    let mut traces: Vec<Trace> = [0.9, 1.0, 1.1].iter().map(|s| zipf(*s, long)).collect();
    let mut draw = Draw::new(100_000, 1.0);
    let mut add = |name: &str, key: &mut dyn FnMut(u64, &mut Draw) -> u64| {
        draw.state = 1;
        traces.push(Trace {
            name: String::from(name),
            keys: (0..short).map(|at| key(at, &mut draw)).collect(),
            sizes: vec![1_000, 5_000, 20_000],
            is_zipf: false,
        });
    };
    // Scans and loops.
    add(
        "Zipf 1.0, scans of new keys",
        &mut |at, draw| match at % 70_000 {
            0..50_000 => draw.zipf(),
            _ => OTHER + at,
        },
    );
    add(
        "Zipf 1.0, scans of the same 30,000",
        &mut |at, draw| match at % 80_000 {
            place @ 50_000.. => OTHER + place,
            _ => draw.zipf(),
        },
    );
    add("loop over 6,000", &mut |at, _| at % 6_000);
    add("loop over 25,000", &mut |at, _| at % 25_000);
    add(
        "Zipf 1.0 and a loop over 10,000",
        &mut |at, draw| match draw.below(2) {
            0 => draw.zipf(),
            _ => OTHER + at / 2 % 10_000,
        },
    );
    add(
        "Zipf 1.0, half asked for once",
        &mut |at, draw| match draw.below(2) {
            0 => draw.zipf(),
            _ => OTHER + at,
        },
    );
    // Popularity that shifts.
    for every in [50_000, 200_000] {
        add(
            &format!("Zipf 1.0, other keys every {every}"),
            &mut |at, draw| draw.zipf() + at / every * ZIPF_KEYS as u64,
        );
    }
    add("Zipf 1.0, other ranks every 200000", &mut |at, draw| {
        let era = at / 200_000;
        (draw.zipf() * (2 * era * 7_919 + 1) + era * 31_337) % 100_003
    });
    for pace in [4, 32] {
        add(
            &format!("Zipf 1.0, all ranks slide every {pace}"),
            &mut |at, draw| (draw.zipf() * 7 + at / pace) % 1_000_003,
        );
    }
    for (percent, span) in [(10, 1e5), (30, 1e5), (30, 1e4)] {
        let mut newest = 1;
        add(
            &format!("young keys of {span}, {percent} % new"),
            &mut |_, draw| {
                newest += u64::from(draw.below(100) < percent);
                OTHER + newest - (f64::powf(span, draw.unit()) as u64).min(newest)
            },
        );
    }
    traces
}

fn zipf(s: f64, length: u64) -> Trace {
    let mut draw = Draw::new(ZIPF_KEYS, s);
    Trace {
        name: format!("Zipf {s:.1}"),
        keys: (0..length).map(|_| draw.zipf()).collect(),
        // 0.5, 1, 5 and 10 %
        sizes: vec![5_000, 10_000, 50_000, 100_000],
        is_zipf: true,
    }
}

/// Draws numbers.
struct Draw {
    state: u64,
    /// How likely a rank or a lesser one is.
    sums: Vec<f64>,
}

impl Draw {
    fn new(ranks: usize, s: f64) -> Self {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = (1..=ranks)
            .map(|rank| {
                sum += (rank as f64).powf(-s);
                sum
            })
            .collect();
        sums.iter_mut().for_each(|partial| *partial /= sum);
        Self { state: 42, sums }
    }

    /// Returns a rank from zero.
    fn zipf(&mut self) -> u64 {
        let unit = self.unit();
        self.sums.partition_point(|sum| *sum < unit) as u64
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
