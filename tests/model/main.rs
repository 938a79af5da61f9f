//! The hub against a naive reference, over random histories.
//!
//! What is released must be allowed by the reference at that moment for that reader; and whoever gets nothing must have had
//! nothing to get. `MODEL_CASES` and `MODEL_SEED` (64 hex digits) change how many histories and which.

mod history;
mod reference;
mod world;

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use history::{SECOND, Scope};
use world::{Change, Event, JOURNEYS, LAST, Shape, Twist, World};

#[test]
fn the_hub_releases_what_the_rules_allow_and_nothing_else() {
    let cases = std::env::var("MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(10_000);
    let seed = seed();
    println!("{cases} histories, MODEL_SEED={}", hex::encode(seed));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let tried = AtomicU32::new(0);
    let first_failure = AtomicU32::new(0);
    let result = runner.run(&(shapes(), proptest::collection::vec(steps(), 1..30)), |(shape, steps)| {
        let number = tried.fetch_add(1, Ordering::Relaxed) + 1;
        play(shape, &steps.concat()).map_err(|wrong| {
            let _ = first_failure.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
            TestCaseError::fail(wrong)
        })
    });
    if let Err(error) = result {
        panic!(
            "history {} fails (MODEL_SEED={}); the smallest like it: {error}",
            first_failure.into_inner(),
            hex::encode(seed)
        );
    }
}

fn play(shape: Shape, events: &[Event]) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::new(shape);
        for event in events {
            world.happen(*event).await?;
        }
        world.finish().await
    })
}

fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    match std::env::var("MODEL_SEED") {
        Ok(text) => hex::decode_to_slice(text, &mut seed).expect("64 hex digits"),
        Err(_) => getrandom::fill(&mut seed).expect("random numbers"),
    }
    seed
}

fn shapes() -> impl Strategy<Value = Shape> {
    let exposure = prop_oneof![3 => Just(30 * SECOND), 1 => Just(0)];
    (exposure, prop::bool::weighted(0.2), any::<bool>()).prop_map(|(exposure, is_small, refresh_ahead)| Shape {
        exposure,
        is_small,
        refresh_ahead,
    })
}

/// One event, or a whole exchange about one journey.
fn steps() -> impl Strategy<Value = Vec<Event>> {
    let exchange = (0..JOURNEYS, 0..2u8).prop_map(|(journey, key)| {
        let call = LAST;
        let compose = Event::Compose { call, replica: false, key, twist: Twist::None };
        vec![Event::Ask { journey, anew: false }, Event::Send { call }, compose, Event::Deliver { call }]
    });
    prop_oneof![5 => events().prop_map(|event| vec![event]), 1 => exchange]
}

fn events() -> impl Strategy<Value = Event> {
    // Few calls are under way at once, so that the steps of one call meet.
    let call = 0..3usize;
    let twist = prop_oneof![
        12 => Just(Twist::None), 1 => Just(Twist::Forged), 1 => Just(Twist::Unsigned), 1 => (0..JOURNEYS).prop_map(Twist::AnotherJourneys),
        2 => (0..9usize).prop_map(Twist::Again), 1 => Just(Twist::Old), 1 => Just(Twist::Ahead), 1 => Just(Twist::NotFound),
        1 => Just(Twist::Failure), 1 => Just(Twist::Timeout),
    ];
    let change = prop_oneof![
        3 => Just(Change::Revoke), 1 => Just(Change::Expire), 3 => Just(Change::Activate), 2 => any::<bool>().prop_map(|ends_soon| Change::Reissue { ends_soon }),
        1 => Just(Change::Redraw), 1 => Just(Change::Collide),
    ];
    let scope = prop_oneof![
        (0..JOURNEYS).prop_map(Scope::Journey),
        (1..4u8).prop_map(Scope::Person),
        (1..4u8).prop_map(Scope::Etag),
        Just(Scope::All),
    ];
    prop_oneof![
        10 => (0..JOURNEYS, prop::bool::weighted(0.2)).prop_map(|(journey, anew)| Event::Ask { journey, anew }),
        1 => any::<usize>().prop_map(|reader| Event::Leave { reader }),
        10 => call.clone().prop_map(|call| Event::Send { call }),
        10 => (call.clone(), any::<bool>(), prop_oneof![3 => Just(0u8), 2 => Just(1u8)], twist)
            .prop_map(|(call, replica, key, twist)| Event::Compose { call, replica, key, twist }),
        10 => call.prop_map(|call| Event::Deliver { call }),
        3 => (0..JOURNEYS, change).prop_map(|(journey, change)| Event::Upstream { journey, change }),
        4 => prop_oneof![1..2_000i64, 18_000..32_000i64, 1..200_000i64].prop_map(|millis| Event::Pass { millis }),
        1 => prop_oneof![-100..100i64, -4_000..4_000i64].prop_map(|seconds| Event::StepWall { seconds }),
        1 => scope.prop_map(|scope| Event::Purge { scope }),
        1 => (0..2u8).prop_map(|key| Event::DropKey { key }),
    ]
}
