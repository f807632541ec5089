//! Numbers of records that follow from their content: what is drawn for a record must not depend on
//! its place among the others.

use crate::Result;
use crate::data::Records;

/// A number of every record, from its pixels and its label.
///
/// # Guarantee
/// None: hashes of private content.
///
/// # Errors
/// Where the pixels cannot be copied to the host.
pub fn of_records(records: &Records) -> Result<Vec<u64>> {
    Ok(of_rows(&records.images.to_vec()?, records.labels.values()))
}

/// A number of every row, from its values and its label: the first eight bytes of their SHA-256.
pub fn of_rows(values: &[f32], labels: &[i64]) -> Vec<u64> {
    let each = values.len() / labels.len().max(1);
    let key = |(row, label): (&[f32], &i64)| {
        let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).chain(label.to_le_bytes()).collect();
        let mut key = [0; 8];
        key.copy_from_slice(&artifact::sha256_raw(&bytes)[..8]);
        u64::from_le_bytes(key)
    };
    values.chunks(each.max(1)).zip(labels).map(key).collect()
}
