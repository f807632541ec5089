//! Images and their labels out of one file: what `combine` exports, what `NumPy` and torchvision
//! users save.

use crate::array::Array;
use crate::document::{Document, Found, unread};
use crate::error::{Error, Result, shown};

/// Names of images, as the last part of an array's dotted name.
const IMAGE_NAMES: [&str; 10] = [
    "images",
    "image",
    "x",
    "samples",
    "data",
    "inputs",
    "imgs",
    "pixels",
    "candidates",
    "synthetic_samples",
];

/// Names of labels.
const LABEL_NAMES: [&str; 6] = ["labels", "label", "y", "targets", "target", "classes"];

/// Names of what often has one number for each image and is no label.
const OTHER_NAMES: [&str; 9] =
    ["teacher_ids", "teacher_id", "ids", "id", "index", "indices", "confidence", "confidences", "weights"];

/// `[n, height, width]`; what has fewer dimensions is no images.
const FEWEST_DIMS: usize = 3;

/// An error lists at most this many arrays.
const LISTED: usize = 4;

impl Document {
    /// The images of the file, and a label for each where there are labels: `[n]`, integers or
    /// whole numbers.
    ///
    /// - One array alone is images.
    /// - Of several, images are what is called `images`, `x`, `samples`, `data`, `inputs` or the
    ///   like, and labels what is called `labels`, `y`, `targets` or the like, whatever else is
    ///   there. A dotted name counts by its last part; case does not matter.
    /// - In a pair, what no name tells the shapes do: `[n, height, width]` or more dimensions are
    ///   images, integers `[n]` their labels. So are `arr_0` and `arr_1` of `numpy.savez`, and the
    ///   tuple of torchvision's `training.pt`.
    ///
    /// Labels of shape `[n, 1]` become `[n]`. The layout of the images stays as it is: see
    /// [`Array::into_nchw`].
    ///
    /// # Errors
    /// [`Error::NotLabelled`] where this does not tell which array is which, or the two do not
    /// belong together; it lists what is there and the names that are understood.
    pub fn into_images_and_labels(self) -> Result<(Array, Option<Array>)> {
        self.into_images_and_labels_of(None, None)
    }

    /// [`Document::into_images_and_labels`] where the caller knows the dotted name of the images,
    /// of the labels, or of both.
    ///
    /// # Errors
    /// As [`Document::into_images_and_labels`]; also a name that is not there.
    pub fn into_images_and_labels_of(
        self,
        images: Option<&str>,
        labels: Option<&str>,
    ) -> Result<(Array, Option<Array>)> {
        let (path, format, found) = (self.path.clone(), self.format, self.describe());
        let refused = |reason| Error::NotLabelled { path: path.clone(), reason, found: found.clone() };
        let arrays = self.into_found();
        let roles = Roles::of(&arrays, images, labels).map_err(refused)?;
        let (mut images, mut labels) = (None, None);
        for (index, named) in arrays.into_iter().enumerate() {
            if index == roles.images {
                images = Some(named);
            } else if Some(index) == roles.labels {
                labels = Some(named);
            }
        }
        let (name, images) = images.ok_or_else(|| refused("it holds no images".into()))?;
        let images = images.map_err(|what| unread(path.clone(), format, &name, &what))?;
        let Some((labels_name, labels)) = labels else { return Ok((images, None)) };
        let labels = labels.map_err(|what| unread(path.clone(), format, &labels_name, &what))?;
        let labels = column(labels).map_err(|labels| {
            refused(format!(
                "`{}` is {labels}, and labels are one number for each image",
                shown(&labels_name)
            ))
        })?;
        let (n, n_labels) = (images.shape().first().copied().unwrap_or(1), labels.len());
        if n != n_labels {
            return Err(refused(format!(
                "`{}` has {n} images and `{}` has {n_labels} labels",
                shown(&name),
                shown(&labels_name)
            )));
        }
        Ok((images, Some(labels)))
    }
}

/// Labels `[n]`, also out of `[n, 1]`; what has another shape comes back.
fn column(labels: Array) -> Result<Array, Array> {
    match *labels.shape() {
        [_] => Ok(labels),
        [n, 1] => labels.reshaped(vec![n]),
        _ => Err(labels),
    }
}

/// Which arrays are what: positions.
struct Roles {
    images: usize,
    labels: Option<usize>,
}

impl Roles {
    fn of(arrays: &[(String, Found)], images: Option<&str>, labels: Option<&str>) -> Result<Self, String> {
        let images = images.map(|name| called(arrays, name)).transpose()?;
        let labels = labels.map(|name| called(arrays, name)).transpose()?;
        if images.is_some() && images == labels {
            return Err("one array cannot be the images and the labels".into());
        }
        // What the caller named plays no other part.
        let left = |index: &usize| Some(*index) != images && Some(*index) != labels;
        let named = |names: &[&str]| -> Vec<usize> {
            let known = |index: &usize| arrays.get(*index).is_some_and(|(name, _)| is_one_of(name, names));
            (0..arrays.len()).filter(left).filter(known).collect()
        };
        let mut by_name = (
            images.map_or_else(|| one(arrays, &named(&IMAGE_NAMES), "images"), |at| Ok(Some(at)))?,
            labels.map_or_else(|| one(arrays, &named(&LABEL_NAMES), "labels"), |at| Ok(Some(at)))?,
        );
        if let [first, second] = arrays {
            // The shapes speak for what no name settles.
            let is_images = |(name, array): &(String, Found)| {
                array.as_ref().is_ok_and(|array| array.shape().len() >= FEWEST_DIMS)
                    && !is_one_of(name, &LABEL_NAMES)
            };
            let is_labels = |(name, array): &(String, Found), images: &Found| {
                let (Ok(array), Ok(images)) = (array, images) else { return false };
                array.is_integer()
                    && matches!(*array.shape(), [n] | [n, 1] if Some(&n) == images.shape().first())
                    && !is_one_of(name, &OTHER_NAMES)
            };
            by_name = match by_name {
                (None | Some(0), None) if is_images(first) && is_labels(second, &first.1) => {
                    (Some(0), Some(1))
                }
                (None | Some(1), None) if is_images(second) && is_labels(first, &second.1) => {
                    (Some(1), Some(0))
                }
                (None, Some(1)) if is_images(first) => (Some(0), Some(1)),
                (None, Some(0)) if is_images(second) => (Some(1), Some(0)),
                settled => settled,
            };
        }
        match (by_name, arrays) {
            ((Some(images), labels), _) => Ok(Self { images, labels }),
            ((None, None), [(name, array)])
                if !is_one_of(name, &OTHER_NAMES)
                    && array.as_ref().map_or(true, |array| !array.shape().is_empty()) =>
            {
                Ok(Self { images: 0, labels: None })
            }
            ((None, None), _) => Err("it does not tell which array is the images".into()),
            ((None, Some(_)), _) => Err("it does not tell which array is the images of its labels".into()),
        }
    }
}

/// The only one, none, or an error that names several.
fn one(arrays: &[(String, Found)], found: &[usize], role: &str) -> Result<Option<usize>, String> {
    match found {
        [] => Ok(None),
        [index] => Ok(Some(*index)),
        several => {
            let names = several.iter().filter_map(|index| arrays.get(*index)).take(LISTED);
            let names: Vec<String> = names.map(|(name, _)| format!("`{}`", shown(name))).collect();
            Err(format!("{} of its arrays may be the {role}: {}", several.len(), names.join(", ")))
        }
    }
}

fn called(arrays: &[(String, Found)], wanted: &str) -> Result<usize, String> {
    arrays
        .iter()
        .position(|(name, _)| name == wanted)
        .ok_or_else(|| format!("it has no array `{}`", shown(wanted)))
}

/// Whether the last part of a dotted name is one of `names`.
fn is_one_of(name: &str, names: &[&str]) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    names.iter().any(|known| known.eq_ignore_ascii_case(last))
}
