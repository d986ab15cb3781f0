//! First draws of the generators.

use fss_data::rng::{NumpyLegacy, PythonRandom, TorchGenerator};
use fss_support::golden;
use serde_json::{Value, json};

/// A list of the file.
fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().unwrap_or_else(|| panic!("no list {key:?} in {of}"))
}

/// An integer that may be written as a string.
fn integer(value: &Value) -> u128 {
    match value {
        Value::String(text) => text.parse().expect("an integer"),
        _ => u128::from(value.as_u64().expect("an integer")),
    }
}

fn index(value: &Value) -> usize {
    integer(value) as usize
}

/// A fresh list of draws, as long as the wanted one.
fn check<T: Into<Value>>(what: &str, of: &Value, key: &str, mut draw: impl FnMut() -> T) {
    for (i, want) in list(of, key).iter().enumerate() {
        assert_eq!(&draw().into(), want, "{what}: {key}[{i}]");
    }
}

/// A fresh list of fractions. Reading them from JSON may lose the last bit.
fn check_fractions(what: &str, of: &Value, key: &str, mut draw: impl FnMut() -> f64) {
    for (i, want) in list(of, key).iter().enumerate() {
        let (got, want) = (draw(), want.as_f64().expect("a number"));
        assert!((got - want).abs() <= want * f64::EPSILON, "{what}: {key}[{i}]: {got} for {want}");
    }
}

/// A list of `[argument, .., result]`; numbers may be strings.
fn check_calls(what: &str, of: &Value, key: &str, mut draw: impl FnMut(&[Value]) -> u128) {
    for (i, call) in list(of, key).iter().enumerate() {
        let (want, arguments) = call.as_array().expect("a call").split_last().expect("a result");
        assert_eq!(draw(arguments), integer(want), "{what}: {key}[{i}] of {arguments:?}");
    }
}

fn check_state(what: &str, of: &Value, words: &[u32], position: usize) {
    for (i, want) in list(of, "state_words_0_to_3").iter().enumerate() {
        assert_eq!(json!(words[i]), *want, "{what}: state word {i}");
    }
    if let Some(want) = of.get("state_word_623") {
        assert_eq!(json!(words[623]), *want, "{what}: state word 623");
    }
    assert_eq!(json!(position), of["position"], "{what}: position");
}

fn check_python(set: &Value) {
    let seed = integer(&set["seed"]);
    let what = format!("Python seed {seed}");
    let fresh = || PythonRandom::seed(seed);
    check_state(&what, set, fresh().core().words(), fresh().core().position());
    let mut random = fresh();
    check(&what, set, "getrandbits_32", || random.getrandbits(32) as u64);
    let mut random = fresh();
    check_fractions(&what, set, "random", || random.random());
    let mut random = fresh();
    check_calls(&what, set, "getrandbits", |args| random.getrandbits(index(&args[0]) as u32));
    let mut random = fresh();
    check_calls(&what, set, "choice_index", |args| random.choice_index(index(&args[0])) as u128);
    let mut random = fresh();
    check_calls(&what, set, "randint", |args| {
        let [low, high] = [&args[0], &args[1]].map(|v| v.as_i64().expect("an integer"));
        random.randint(low, high) as u128
    });
    let mut order: Vec<usize> = (0..list(set, "shuffle_10").len()).collect();
    fresh().shuffle(&mut order);
    assert_eq!(json!(order), set["shuffle_10"], "{what}: shuffle");
    assert_eq!(json!(fresh().sample_indices(30, 5)), set["sample_5_of_30"], "{what}: sample");
    let mut random = fresh();
    let drawn: Vec<usize> = (0..710).map(|_| random.choice_index(7)).collect();
    assert_eq!(json!(drawn[700..]), set["choice_7_number_700_to_709"], "{what}: late choices");
}

fn check_torch(set: &Value) {
    let seed = integer(&set["seed"]) as u64;
    let what = format!("torch seed {seed}");
    let fresh = || TorchGenerator::seed(seed);
    let mut random = fresh();
    check(&what, set, "first_raw_32bit", || random.next_u32());
    let mut random = fresh();
    check(&what, set, "int64_random", || random.next_int64().to_string());
    let base = u128::from(fresh().next_int64());
    let mut seeds = base..;
    check(&what, set, "worker_seeds_of_4_for_first", || seeds.next().expect("a seed").to_string());
    for (worker, want) in list(set, "first_getrandbits32_of_each_python_worker").iter().enumerate()
    {
        let mut random = PythonRandom::seed(base + worker as u128);
        let drawn: Vec<u64> = (0..want.as_array().expect("a list").len())
            .map(|_| random.getrandbits(32) as u64)
            .collect();
        assert_eq!(json!(drawn), *want, "{what}: worker {worker}");
    }
    let count = list(set, "randperm_10").len();
    assert_eq!(json!(fresh().permutation(count)), set["randperm_10"], "{what}: randperm");
    let mut random = fresh();
    check_fractions(&what, set, "rand_4", || f64::from(random.next_f32()));
}

fn check_numpy(set: &Value) {
    let seed = integer(&set["seed"]) as u32;
    let what = format!("numpy seed {seed}");
    let fresh = || NumpyLegacy::seed(seed);
    check_state(&what, set, fresh().core().words(), fresh().core().position());
    let mut random = fresh();
    check(&what, set, "first_raw_32bit", || random.next_u32());
    let mut random = fresh();
    check_fractions(&what, set, "random_sample", || random.random_sample());
    let count = list(set, "permutation_10").len();
    assert_eq!(json!(fresh().permutation(count)), set["permutation_10"], "{what}: permutation");
    let mut random = fresh();
    check_calls(&what, set, "choice_without_replacement_one", |args| {
        random.choice_one(index(&args[0])) as u128
    });
    let mut random = fresh();
    check(&what, set, "choice_of_list_1_to_10", || random.choice_one(10) + 1);
    let three = &fresh().permutation(20)[..3];
    assert_eq!(json!(three), set["choice_3_of_20"], "{what}: choice of 3");
    let mut random = fresh();
    check(&what, set, "randint_0_100", || random.randint(0, 100));
    let mut random = fresh();
    random.choice_one(1000);
    random.choice_one(5000);
    check(&what, set, "after_choice_1000_and_5000_next_raw", || random.next_u32());
}

#[test]
fn golden_rng() {
    let cases = golden::cases("common", "rng");
    for case in &cases {
        let json = case.json();
        list(&json, "python").iter().for_each(check_python);
        list(&json, "torch").iter().for_each(check_torch);
        list(&json, "numpy_legacy").iter().for_each(check_numpy);
    }
    golden::report("common/rng", cases.len());
}
