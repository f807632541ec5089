//! Golden cases: inputs by rule, expected values, and the files in `tests/golden` that hold them.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use tensorfile::Array;

/// Number `i` of the uniform stream of `key`, in [0, 1): SplitMix64's output after `i + 1` steps.
pub fn unit(key: u64, i: u64) -> f64 {
    let mut z = key.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / (1_u64 << 53) as f64
}

/// Row-major values of `shape` between `lo` and `hi`: computed in float64, rounded once.
pub fn fill(key: u64, shape: &[i64], lo: f64, hi: f64) -> Vec<f32> {
    stream(key, shape).map(|u| (lo + (hi - lo) * u) as f32).collect()
}

/// Row-major whole numbers of `shape` in 0..`n`.
pub fn ifill(key: u64, shape: &[i64], n: i64) -> Vec<i64> {
    stream(key, shape).map(|u| (u * n as f64).floor() as i64).collect()
}

fn stream(key: u64, shape: &[i64]) -> impl Iterator<Item = f64> {
    let numel = shape.iter().product::<i64>();
    (0..numel as u64).map(move |i| unit(key, i))
}

/// The cases of one group.
pub struct Golden {
    all: Value,
    tensors: HashMap<String, Array>,
}

impl Golden {
    /// Reads a group of the committed cases.
    pub fn read(group: &str) -> Self {
        Self::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/extract"), group)
    }

    /// Reads `<group>.json` and `<group>.safetensors` of a folder.
    pub fn open(folder: &Path, group: &str) -> Self {
        let bytes = std::fs::read(folder.join(format!("{group}.json"))).unwrap();
        let tensors = tensorfile::read(&folder.join(format!("{group}.safetensors"))).unwrap();
        Self {
            all: serde_json::from_slice(&bytes).unwrap(),
            tensors: tensors.into_tensors().unwrap().into_iter().collect(),
        }
    }

    /// The names of all cases.
    pub fn ids(&self) -> Vec<String> {
        self.cases().map(|case| case.id().to_owned()).collect()
    }

    /// All cases, in the file's order.
    pub fn cases(&self) -> impl Iterator<Item = Case<'_>> {
        let cases = self.all["cases"].as_array().unwrap();
        cases.iter().map(|case| Case { case, golden: self })
    }

    /// The case of this name.
    pub fn case(&self, id: &str) -> Case<'_> {
        let mut found: Vec<_> = self.cases().filter(|case| case.id() == id).collect();
        assert_eq!(found.len(), 1, "cases with the name {id}");
        found.remove(0)
    }
}

/// One case: parameters, inputs and what is expected of them.
///
/// Values are named by JSON pointers, such as `/expected/coordinates/value`.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    case: &'a Value,
    golden: &'a Golden,
}

impl<'a> Case<'a> {
    /// The case of another name in the same group.
    pub fn sibling(&self, id: &str) -> Case<'a> {
        self.golden.case(id)
    }

    /// Its name.
    pub fn id(&self) -> &str {
        self.case["id"].as_str().unwrap()
    }

    /// What stands at `pointer`.
    pub fn at(&self, pointer: &str) -> &Value {
        self.case.pointer(pointer).unwrap_or_else(|| panic!("{}: nothing at {pointer}", self.id()))
    }

    /// The numbers at `pointer`, row-major, whatever way they are given: a number, lists of
    /// numbers, a tensor by its key, values in line, or the rule that makes them.
    pub fn numbers(&self, pointer: &str) -> Vec<f64> {
        self.resolve(pointer).1
    }

    /// Their shape: empty for a number.
    pub fn shape(&self, pointer: &str) -> Vec<i64> {
        self.resolve(pointer).0
    }

    fn resolve(&self, pointer: &str) -> (Vec<i64>, Vec<f64>) {
        let value = self.at(pointer);
        let Some(object) = value.as_object() else { return listed(value) };
        if let Some(key) = object.get("tensor") {
            let key = key.as_str().unwrap();
            let array = self.golden.tensors.get(key).unwrap_or_else(|| panic!("no tensor is named {key}"));
            let shape: Vec<_> = array.shape().iter().map(|&n| n as i64).collect();
            if let Some(declared) = object.get("shape") {
                assert_eq!(integers(declared), shape, "{key}");
            }
            return (shape, array.to_f64());
        }
        if let Some(values) = object.get("values") {
            return listed(values);
        }
        let rule = object.get("fill").or_else(|| object.get("ifill")).and_then(Value::as_array);
        let Some([key, shape, bounds @ ..]) = rule.map(Vec::as_slice) else {
            panic!("{}: no numbers at {pointer}: {value}", self.id())
        };
        let (key, shape) = (key.as_u64().unwrap(), integers(shape));
        let values = match bounds {
            [lo, hi] => {
                let values = fill(key, &shape, lo.as_f64().unwrap(), hi.as_f64().unwrap());
                values.into_iter().map(f64::from).collect()
            }
            [n] => ifill(key, &shape, n.as_i64().unwrap()).into_iter().map(|n| n as f64).collect(),
            _ => panic!("{}: a rule that is not understood at {pointer}: {value}", self.id()),
        };
        (shape, values)
    }
}

/// Numbers in lists of equal lengths, and their shape.
fn listed(value: &Value) -> (Vec<i64>, Vec<f64>) {
    let Some(items) = value.as_array() else { return (vec![], vec![value.as_f64().unwrap()]) };
    let (mut shape, mut numbers) = (vec![items.len() as i64], Vec::new());
    for (i, item) in items.iter().enumerate() {
        let (inner, values) = listed(item);
        if i == 0 {
            shape.extend(&inner);
        }
        assert_eq!(shape[1..], inner, "lists of different lengths");
        numbers.extend(values);
    }
    (shape, numbers)
}

fn integers(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|n| n.as_i64().unwrap()).collect()
}

/// The largest difference over the largest expected magnitude; infinite where one is NaN, the
/// difference itself where all that is expected is zero.
pub fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len(), "numbers of values");
    let mut differences = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    if differences.clone().any(f64::is_nan) {
        return f64::INFINITY;
    }
    let difference = differences.by_ref().fold(0.0, f64::max);
    let largest = expected.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    if largest == 0.0 { difference } else { difference / largest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_gives_the_numbers_that_its_file_states() {
        let check = [
            0.741_564_878_771_823_3,
            0.159_910_392_876_920_1,
            0.278_601_130_255_138_66,
            0.344_190_716_523_637_53,
        ];
        assert_eq!([0, 1, 2, 3].map(|i| unit(42, i).to_bits()), check.map(f64::to_bits));
        assert_eq!(fill(7, &[3], -0.5, 0.5), [-0.110_170_25_f32, -0.483_211_7, 0.400_760_68]);
        assert_eq!(ifill(9, &[2, 3], 10), [6, 7, 2, 7, 2, 1]);
    }

    #[test]
    fn numbers_are_found_however_they_are_given() {
        let case = serde_json::json!({
            "id": "a",
            "inputs": {
                "x": {"fill": [7, [1, 3], -0.5, 0.5]}, "y": {"ifill": [9, [6], 10]}, "z": {"values": [1, 2]},
                "t": {"tensor": "a/t", "shape": [2, 1], "dtype": "float32"},
            },
            "expected": {"loss": 0.5, "nested": [[1, 2, 3], [4, 5, 6]]},
        });
        let array = Array::from_f32(vec![2, 1], vec![0.5, 2.0]).unwrap();
        let tensors = HashMap::from([("a/t".to_owned(), array)]);
        let golden = Golden { all: Value::Null, tensors };
        let case = Case { case: &case, golden: &golden };
        let of = |pointer: &str| (case.shape(pointer), case.numbers(pointer));
        assert_eq!(case.id(), "a");
        assert_eq!(of("/inputs/x").0, [1, 3]);
        assert_eq!(of("/inputs/y"), (vec![6], vec![6.0, 7.0, 2.0, 7.0, 2.0, 1.0]));
        assert_eq!(of("/inputs/z"), (vec![2], vec![1.0, 2.0]));
        assert_eq!(of("/inputs/t"), (vec![2, 1], vec![0.5, 2.0]));
        assert_eq!(of("/expected/loss"), (vec![], vec![0.5]));
        assert_eq!(of("/expected/nested"), (vec![2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    }

    #[test]
    fn errors_are_relative_to_the_largest_entry() {
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-15, "{found}");
        close(relative_error(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
        close(relative_error(&[0.5], &[0.0]), 0.5);
        assert!(relative_error(&[f64::NAN], &[1.0]).is_infinite());
    }
}
