//! Images and labels in the layouts that this project and others write. Field cases, row 11.

use tensorfile::{Array, DType, Document, Error, Format, Value, View, npz, pt, safetensors};

use crate::support::read;

/// Three pictures of 4 x 5 that count up.
fn images() -> Array {
    Array::from_f32(vec![3, 1, 4, 5], (0..60_u8).map(f32::from).collect()).unwrap()
}

fn labels() -> Array {
    Array::from_i64(vec![3], vec![7, 0, 2]).unwrap()
}

fn of(pairs: &[(&str, Array)]) -> Document {
    let pairs = pairs.iter().map(|(name, array)| ((*name).to_owned(), Value::Array(array.clone())));
    document(Value::Dict(pairs.collect()))
}

fn document(root: Value) -> Document {
    Document { path: "some/file".into(), format: Format::Npz, root, code: false, metadata: Vec::new() }
}

fn refusal(document: Document) -> String {
    let error = document.into_images_and_labels().unwrap_err();
    assert!(matches!(error, Error::NotLabelled { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with("some/file: ") && text.contains("the file holds ") && !text.contains('\n'),
        "{text}"
    );
    text
}

/// Field cases, row 11: what `combine --format npz` and `--format safetensors` write.
#[test]
fn exports_of_combine_are_read_back() {
    let (x, y) = (images(), labels());
    let mut file = Vec::new();
    npz::write(&mut file, &[("x", x.view()), ("y", y.view())]).unwrap();
    assert_eq!(read(&file).unwrap().into_images_and_labels().unwrap(), (images(), Some(labels())));
    let mut file = Vec::new();
    let ids = View::i64(&[3], &[9, 9, 9]).unwrap();
    let arrays = [("images", x.view()), ("labels", y.view()), ("teacher_ids", ids)];
    safetensors::write(&mut file, &arrays, &[]).unwrap();
    assert_eq!(read(&file).unwrap().into_images_and_labels().unwrap(), (images(), Some(labels())));
    let mut file = Vec::new();
    pt::write_array(&mut file, x.view()).unwrap();
    assert_eq!(read(&file).unwrap().into_images_and_labels().unwrap(), (images(), None));
}

/// Field cases, row 11.
#[test]
fn pairs_of_other_programs_are_told_by_name_or_shape() {
    for (x, y) in [
        ("images", "labels"),
        ("samples", "labels"),
        ("data", "targets"),
        ("X", "Y"),
        ("arr_0", "arr_1"),
        ("pictures", "digits"),
        ("images", "digits"),
        ("pictures", "labels"),
    ] {
        for pairs in [[(x, images()), (y, labels())], [(y, labels()), (x, images())]] {
            let read = of(&pairs).into_images_and_labels().unwrap();
            assert_eq!(read, (images(), Some(labels())), "{x} {y}");
        }
    }
    // torchvision's training.pt, and what is nested.
    let tuple =
        Value::List(vec![Value::Array(images()), Value::Array(labels()), Value::Text("MNIST".into())]);
    assert_eq!(document(tuple.clone()).into_images_and_labels().unwrap(), (images(), Some(labels())));
    let nested = Value::Dict(vec![("train".into(), tuple), ("epoch".into(), Value::Int(3))]);
    assert_eq!(document(nested).into_images_and_labels().unwrap(), (images(), Some(labels())));
}

#[test]
fn labels_may_be_a_column_or_whole_numbers_but_not_scores() {
    let column = Array::from_i64(vec![3, 1], vec![7, 0, 2]).unwrap();
    let read = of(&[("images", images()), ("labels", column.clone())]).into_images_and_labels().unwrap();
    assert_eq!(read, (images(), Some(labels())));
    let read = of(&[("arr_0", images()), ("arr_1", column)]).into_images_and_labels().unwrap();
    assert_eq!(read, (images(), Some(labels())));
    let numbers = Array::from_f32(vec![3], vec![7.0, 0.0, 2.0]).unwrap();
    let read = of(&[("x", images()), ("y", numbers.clone())]).into_images_and_labels().unwrap();
    assert_eq!(read.1, Some(numbers.clone()));
    // Without a name, numbers that may be confidences are no labels.
    let text = refusal(of(&[("arr_0", images()), ("arr_1", numbers)]));
    assert!(
        text.contains("does not tell which array is the images; the file holds 2 arrays (arr_0 "),
        "{text}"
    );
    let one_hot = Array::from_i64(vec![3, 10], vec![0; 30]).unwrap();
    let text = refusal(of(&[("images", images()), ("labels", one_hot)]));
    assert!(text.contains("`labels` is int64 [3, 10], and labels are one number"), "{text}");
}

#[test]
fn what_is_not_clear_is_an_error_that_names_both() {
    let text = refusal(of(&[
        ("x_train", images()),
        ("x_test", images()),
        ("y_train", labels()),
        ("y_test", labels()),
    ]));
    assert!(text.contains("x_train float32 [3, 1, 4, 5], x_test float32 [3, 1, 4, 5]"), "{text}");
    let text = refusal(of(&[("train.images", images()), ("test.images", images()), ("labels", labels())]));
    assert!(text.contains("2 of its arrays may be the images: `train.images`, `test.images`"), "{text}");
    let text = refusal(of(&[("images", images()), ("labels", labels()), ("y", labels())]));
    assert!(text.contains("2 of its arrays may be the labels: `labels`, `y`"), "{text}");
    let four = Array::from_i64(vec![4], vec![0; 4]).unwrap();
    let text = refusal(of(&[("images", images()), ("labels", four.clone())]));
    assert!(text.contains("`images` has 3 images and `labels` has 4 labels"), "{text}");
    for pair in [
        [("a", images()), ("b", images())],
        [("a", labels()), ("b", labels())],
        [("a", images()), ("b", four)],
    ] {
        refusal(of(&pair));
    }
    refusal(of(&[("images_of", images()), ("labels", labels()), ("more", images())]));
    refusal(of(&[("labels", labels())]));
    refusal(of(&[("teacher_ids", labels())]));
    refusal(of(&[]));
}

/// What has one number for each image and another name is left aside, and is no label.
#[test]
fn ids_and_confidences_are_no_labels() {
    for name in ["teacher_ids", "ids", "index", "confidence"] {
        let read = of(&[("images", images()), (name, labels())]).into_images_and_labels().unwrap();
        assert_eq!(read, (images(), None), "{name}");
    }
}

#[test]
fn the_caller_can_name_them() {
    let pairs = [("x_train", images()), ("x_test", labels()), ("y_train", labels()), ("fine", labels())];
    let read = |images, labels| of(&pairs).into_images_and_labels_of(images, labels);
    assert_eq!(read(Some("x_train"), Some("fine")).unwrap(), (images(), Some(labels())));
    assert_eq!(read(Some("x_train"), None).unwrap(), (images(), None));
    for (images, labels, expected) in [
        (Some("x_trian"), None, "it has no array `x_trian`"),
        (Some("x_train"), Some("x_train"), "one array cannot be the images and the labels"),
        (None, Some("fine"), "does not tell which array is the images of its labels"),
    ] {
        let text = read(images, labels).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
    let both = of(&[("images", images()), ("more", images()), ("labels", labels())]);
    assert_eq!(both.into_images_and_labels_of(Some("more"), None).unwrap().1, Some(labels()));
}

/// Field cases, row 11: NHWC.
#[test]
fn channels_that_come_last_are_moved_where_the_shape_says_so() {
    let bytes: Vec<u8> = (0..2 * 4 * 5 * 3).map(|n| n as u8).collect();
    let last = Array::new(DType::U8, vec![2, 4, 5, 3], bytes).unwrap();
    let first = last.into_nchw().unwrap();
    assert_eq!(first.shape(), [2, 3, 4, 5]);
    let mut expected = Vec::new();
    for n in 0..2 {
        for c in 0..3 {
            for pixel in 0..20 {
                expected.push((n * 20 + pixel) * 3 + c);
            }
        }
    }
    assert_eq!(first.to_i64().unwrap(), expected);
    let grey = Array::from_f32(vec![3, 4, 5, 1], images().into_f32()).unwrap();
    assert_eq!(grey.into_nchw().unwrap(), images());
    for shape in [vec![2, 3, 4, 5], vec![2, 1, 3, 3], vec![2, 4, 5], vec![0, 28, 28, 1], vec![2, 3, 5, 3]] {
        let array = Array::new(DType::U8, shape.clone(), vec![0; shape.iter().product()]).unwrap();
        let expected = if shape[0] == 0 { vec![0, 1, 28, 28] } else { shape };
        assert_eq!(array.into_nchw().unwrap().shape(), expected);
    }
    for shape in [vec![2, 4, 5, 4], vec![2, 2, 5, 3], vec![2, 28, 3, 1], vec![784], vec![2, 784], vec![1; 5]]
    {
        let array = Array::new(DType::U8, shape.clone(), vec![0; shape.iter().product()]).unwrap();
        let text = array.into_nchw().unwrap_err().to_string();
        assert!(text.contains("[n, channels, height, width] nor [n, height, width, channels]"), "{text}");
    }
}
