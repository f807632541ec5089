//! What a part computed, as raw little-endian values for the comparison.

use std::path::Path;

use anyhow::Result;
use artifact::{Access, write_bytes};

/// Writes float32 values as `<name>.f32`.
pub(crate) fn floats(dir: &Path, name: &str, values: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    write_bytes(&dir.join(format!("{name}.f32")), Access::Private, &bytes)?;
    Ok(())
}

/// Writes int64 values as `<name>.i64`.
pub(crate) fn integers(dir: &Path, name: &str, values: &[i64]) -> Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    write_bytes(&dir.join(format!("{name}.i64")), Access::Private, &bytes)?;
    Ok(())
}
