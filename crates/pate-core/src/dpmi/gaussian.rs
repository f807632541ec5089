//! A latent model in closed form: a mean and a covariance for each class, out of one release.

use dp_accounting::Mechanism;
use dp_accounting::ledger::Charge;
use dp_accounting::spend::Spending;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::base::progress::Progress;
use crate::base::rng::Stream;
use crate::base::tensor;
use crate::dp::{UnitLattice, UnitSum};
use crate::nn::{Module, Parameter, Source};
use crate::{Error, Result};

/// How moments are released. All of it is public and is never computed from the private data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GaussianPlan {
    /// Standard deviation of the noise, in sensitivities; 0 without protection alone.
    pub noise_multiplier: f64,
    /// Norm that latents are bounded to, which they are divided by.
    pub radius: f64,
    /// Weights of count, mean and second moments in a record's vector: what has less weight has
    /// more noise, and a count needs little.
    pub weights: [f64; 3],
    /// Least eigenvalue of a covariance: noise can leave less than 0.
    pub floor: f64,
}

/// Where the moments of a class are taken around: cells of latents around public centres.
///
/// One centre at the origin is the plain model; several make a mixture.
#[derive(Debug)]
pub struct Cells {
    /// `[classes, components, d]`, public.
    centres: Tensor,
}

impl Cells {
    /// One cell for each class, around the origin.
    ///
    /// # Errors
    /// Where there is no room.
    pub fn plain(classes: i64, d: i64) -> Result<Self> {
        Ok(Self { centres: Tensor::f_zeros([classes, 1, d], (Kind::Float, tch::Device::Cpu))? })
    }

    /// `components` cells for each class, around the centres that k-means finds in public latents
    /// `[n, d]`, the same for all classes.
    ///
    /// # Errors
    /// Fewer latents than components.
    pub fn of_public(latents: &Tensor, classes: i64, components: i64, stream: &mut Stream) -> Result<Self> {
        let centres = k_means(latents, components, stream)?;
        let size = centres.size();
        let all = centres.f_unsqueeze(0)?.f_expand([classes, size[0], size[1]], false)?;
        Ok(Self { centres: all.f_contiguous()? })
    }

    fn size(&self) -> [i64; 3] {
        let size = self.centres.size();
        [size[0], size[1], size[2]]
    }

    /// The cell of each row, counted through all classes: the nearest centre of its class.
    ///
    /// # Errors
    /// Other shapes.
    fn of_rows(&self, rows: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let [_, components, _] = self.size();
        let centres = self.centres.f_index_select(0, labels)?;
        let off =
            (rows.f_unsqueeze(1)? - centres).f_square()?.f_sum_dim_intlist([2i64].as_slice(), false, None)?;
        Ok(labels * components + off.f_argmin(1, false)?)
    }
}

/// Centres of `k` groups of rows (Lloyd's algorithm, from rows of the stream's choice).
fn k_means(rows: &Tensor, k: i64, stream: &mut Stream) -> Result<Tensor> {
    const ROUNDS: usize = 25;
    let n = rows.size()[0];
    if k < 1 || k > n {
        return Err(Error::invalid(format!("{n} public latents have no {k} groups; give fewer components")));
    }
    let mut first = stream.permutation(n as usize);
    first.truncate(k as usize);
    let mut centres = rows.f_index_select(0, &tensor::from_i64(&first))?;
    for _ in 0..ROUNDS {
        let off = Tensor::f_cdist(rows, &centres, 2.0, None::<i64>)?;
        let nearest = off.f_argmin(1, false)?;
        let members = nearest.f_one_hot(k)?.f_to_kind(Kind::Float)?;
        let counts = members.f_sum_dim_intlist([0i64].as_slice(), false, None)?.f_unsqueeze(1)?;
        let means = members.f_transpose(0, 1)?.f_matmul(rows)? / counts.f_clamp_min(1.0)?;
        // A centre that nobody is near to stays.
        centres = means.f_where_self(&counts.f_gt(0.0)?, &centres)?;
    }
    Ok(centres)
}

impl GaussianPlan {
    fn unit_sum(&self) -> UnitSum {
        UnitSum { noise_multiplier: self.noise_multiplier }
    }

    /// The release, as it is charged.
    pub fn mechanism(&self) -> Mechanism {
        self.unit_sum().mechanism()
    }

    fn check(&self) -> Result<()> {
        let [count, mean, second] = self.weights;
        let named = [
            ("radius", self.radius),
            ("weight of the count", count),
            ("weight of the mean", mean),
            ("weight of the second moments", second),
            ("least eigenvalue", self.floor),
        ];
        match named.iter().find(|(_, x)| !x.is_finite() || *x <= 0.0) {
            Some((name, value)) => Err(Error::invalid(format!(
                "the {name} of the latent model is {value}; it is a number above 0"
            ))),
            None => Ok(()),
        }
    }

    /// Norm of the longest vector before it is divided by it: that of a record whose offset is as
    /// long as the radius.
    fn longest(&self) -> f64 {
        self.weights.iter().map(|weight| weight * weight).sum::<f64>().sqrt()
    }

    /// Each record's numbers: its share of a count, its offset from the centre, and the products of
    /// that offset's values, those of two different ones times the square root of 2, so that their
    /// norm is the offset's norm squared.
    ///
    /// # Shapes
    /// `offsets` `[n, d]`, no longer than the radius; gives `[n, 1 + d + d (d + 1) / 2]`, float64,
    /// rows of a norm of at most 1.
    ///
    /// # Errors
    /// Other shapes.
    pub fn vectors(&self, offsets: &Tensor) -> Result<Tensor> {
        self.check()?;
        let unit = offsets.f_to_kind(Kind::Double)? / self.radius;
        // Compared, not divided: nobody's vector gets longer, and rounding makes none too long.
        let norm = unit.f_square()?.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Double)?.f_sqrt()?;
        let unit = unit / norm.f_clamp_min(1.0)?;
        let size = unit.size();
        let (n, d) = (size[0], size[1]);
        let products = unit.f_unsqueeze(2)?.f_matmul(&unit.f_unsqueeze(1)?)?.f_view([n, d * d])?;
        let (at, factors) = upper(d)?;
        let products = products.f_index_select(1, &at)? * factors;
        let [count, mean, second] = self.weights;
        let ones = Tensor::f_full([n, 1], count, (Kind::Double, unit.device()))?;
        Ok(Tensor::f_cat(&[ones, unit * mean, products * second], 1)? / self.longest())
    }
}

/// Numbers of a cell: a count, a mean, second moments.
fn numbers(d: i64) -> i64 {
    1 + d + d * (d + 1) / 2
}

/// Where the upper triangle of a matrix stands in its rows, and what its values are multiplied by.
fn upper(d: i64) -> Result<(Tensor, Tensor)> {
    let pairs = || (0..d).flat_map(move |i| (i..d).map(move |j| (i, j)));
    let at: Vec<i64> = pairs().map(|(i, j)| i * d + j).collect();
    let factors: Vec<f64> = pairs().map(|(i, j)| if i == j { 1.0 } else { 2f64.sqrt() }).collect();
    Ok((tensor::from_i64(&at), Tensor::f_from_slice(&factors)?))
}

/// A mixture of Gaussians for each class.
#[derive(Debug)]
pub struct GaussianModel {
    /// Share of each class, `[classes]`, and of each component in it, `[classes, components]`.
    shares: [Parameter; 2],
    /// `[classes, components, d]`.
    mean: Parameter,
    /// A root of the covariance: `factor factor^T`, `[classes, components, d, d]`.
    factor: Parameter,
    size: [i64; 3],
}

/// What of the release noise had hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Hidden {
    /// Cells whose count was below a few deviations of its noise: they are left out.
    pub cells: usize,
    /// Eigenvalues below the floor.
    pub eigenvalues: usize,
}

impl GaussianModel {
    /// What a sum of records' vectors says, in the vectors' units: a function of the sum and of
    /// public numbers alone.
    ///
    /// # Shapes
    /// `sum` is as long as the numbers of all cells.
    ///
    /// # Errors
    /// Another length.
    pub fn of_sum(sum: &[f64], cells: &Cells, plan: &GaussianPlan) -> Result<(Self, Hidden)> {
        /// Deviations of the noise that a count must show.
        const SEEN: f64 = 4.0;
        let [classes, components, d] = cells.size();
        let all = classes * components;
        if sum.len() as i64 != all * numbers(d) {
            return Err(Error::invalid(format!("{} numbers are no moments of {all} cells", sum.len())));
        }
        let [w_count, w_mean, w_second] = plan.weights;
        let sums = Tensor::f_from_slice(sum)?.f_view([all, numbers(d)])? * plan.longest();
        let counts = sums.f_narrow(1, 0, 1)? / w_count;
        let least = (SEEN * plan.noise_multiplier * plan.longest() / w_count).max(2.0);
        let seen = counts.f_ge(least)?;
        let hidden_cells = all - seen.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        let safe = counts.f_clamp_min(least)?;
        let off = sums.f_narrow(1, 1, d)? / w_mean / &safe * plan.radius;
        let (at, factors) = upper(d)?;
        let products = sums.f_narrow(1, 1 + d, numbers(d) - 1 - d)? / w_second / factors / &safe;
        let mut second = Tensor::f_zeros([all, d * d], (Kind::Double, tch::Device::Cpu))?;
        second = second.f_index_copy(1, &at, &(products * plan.radius.powi(2)))?;
        let second = second.f_view([all, d, d])?;
        let second = &second + second.f_triu(1)?.f_transpose(1, 2)?;
        let covariance = second - off.f_unsqueeze(2)?.f_matmul(&off.f_unsqueeze(1)?)?;
        let (values, vectors) = covariance.f_linalg_eigh("U")?;
        let low = values.f_lt(plan.floor)?;
        let eigenvalues = (low * &seen).f_sum(Kind::Int64)?.f_int64_value(&[])? as usize;
        let roots = values.f_clamp_min(plan.floor)?.f_sqrt()?;
        let factor = vectors * roots.f_unsqueeze(1)?;
        // Cells that nobody was seen in are as a standard normal around their centre, and have no
        // share, unless a class has no other.
        let seen_wide = seen.f_unsqueeze(2)?;
        let unit = Tensor::f_eye(d, (Kind::Double, tch::Device::Cpu))?;
        let factor = factor.f_where_self(&seen_wide, &unit)?;
        let off = off.f_where_self(&seen, &off.f_zeros_like()?)?;
        let mean = off + cells.centres.f_to_kind(Kind::Double)?.f_view([all, d])?;
        let counts = (counts.f_clamp_min(0.0)? * &seen).f_view([classes, components])?;
        let of_class = counts.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Double)?;
        let even =
            Tensor::f_full([classes, components], 1.0 / components as f64, (Kind::Double, tch::Device::Cpu))?;
        let shares = (&counts / of_class.f_clamp_min(1.0)?).f_where_self(&of_class.f_gt(0.0)?, &even)?;
        let total = of_class.f_sum(Kind::Double)?;
        let of_class = of_class.f_view([classes])? / total.f_clamp_min(1.0)?;
        let float = |tensor: Tensor| tensor.f_to_kind(Kind::Float);
        let given = [
            ("class_shares", float(of_class)?),
            ("component_shares", float(shares)?),
            ("mean", float(mean)?.f_view([classes, components, d])?),
            ("factor", float(factor)?.f_view([classes, components, d, d])?),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value)).into();
        let model = Self::build(&mut Source::given(given, tch::Device::Cpu), [classes, components, d])?;
        Ok((model, Hidden { cells: hidden_cells as usize, eigenvalues }))
    }

    /// A model of `[classes, components, d]` from `source`.
    ///
    /// # Errors
    /// Those of the source.
    pub fn build(source: &mut Source<'_>, size: [i64; 3]) -> Result<Self> {
        let [classes, components, d] = size;
        Ok(Self {
            shares: [
                source.buffer("class_shares", &[classes], 0.0)?,
                source.buffer("component_shares", &[classes, components], 0.0)?,
            ],
            mean: source.buffer("mean", &size, 0.0)?,
            factor: source.buffer("factor", &[classes, components, d, d], 0.0)?,
            size,
        })
    }

    /// Classes, components of each, latents.
    pub fn size(&self) -> [i64; 3] {
        self.size
    }

    /// Share of each class among the records, as released.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn class_shares(&self) -> Result<Vec<f32>> {
        tensor::to_f32(self.shares[0].value())
    }

    /// Latents of the classes `labels`, `[n, d]`, in the units in which the model was fitted.
    ///
    /// # Errors
    /// A class that it has not.
    pub fn sample(&self, labels: &[i64], stream: &mut Stream) -> Result<Tensor> {
        let [classes, components, d] = self.size;
        if let Some(class) = labels.iter().find(|class| !(0..classes).contains(*class)) {
            return Err(Error::invalid(format!("the model has {classes} classes, and no class {class}")));
        }
        let shares = tensor::to_f32(self.shares[1].value())?;
        let uniform = stream.uniform(labels.len(), 0.0, 1.0);
        let cell = |(&class, u): (&i64, f32)| {
            let first = (class * components) as usize;
            let of_class = &shares[first..first + components as usize];
            let mut sum = 0.0;
            let at = of_class.iter().position(|share| {
                sum += share;
                u < sum
            });
            // Rounding can leave the last one a little short.
            let last = of_class.iter().rposition(|share| *share > 0.0).unwrap_or(0);
            (first + at.unwrap_or(last)) as i64
        };
        let chosen: Vec<i64> = labels.iter().zip(uniform).map(cell).collect();
        let chosen = tensor::from_i64(&chosen);
        let noise = stream.normal_tensor(&[labels.len() as i64, d, 1])?;
        let mean = self.mean.value().f_view([-1, d])?.f_index_select(0, &chosen)?;
        let factor = self.factor.value().f_view([-1, d, d])?.f_index_select(0, &chosen)?;
        Ok(factor.f_matmul(&noise)?.f_squeeze_dim(2)? + mean)
    }
}

impl Module for GaussianModel {
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Parameter)) {
        self.shares.iter().chain([&self.mean, &self.factor]).for_each(f);
    }
}

/// Releases the moments of private latents `rows` `[n, d]`, bounded to the plan's radius, of
/// classes `labels` `[n]`. `keep` gets the model before the charge is closed, and says what the
/// ledger remembers of it.
///
/// # Privacy
/// Neighbours add or remove one record. A record is in one cell, that of the nearest public centre
/// of its class, and adds to that cell's numbers one vector ([`GaussianPlan::vectors`]): with
/// weights a, b, c and an offset u from the centre, |u| at most 1 in units of the radius, it is
/// (a, b u, c u u^T) over sqrt(a^2 + b^2 + c^2), and its norm is at most 1, since |u u^T| = |u|^2.
/// Less what rounding to the lattice can add (half a step in each number of one cell), one record
/// moves the sum by 1 at most in L2. Discrete Gaussian noise of `noise_multiplier` is added once to
/// every number of every cell, and everything after is a function of that. Latents must be a
/// function of their own record alone.
///
/// # Errors
/// A plan whose numbers mean nothing, other shapes, a refused charge, a stop.
pub fn release(
    (rows, labels): (&Tensor, &Tensor),
    cells: &Cells,
    plan: &GaussianPlan,
    charge: Charge,
    spending: &mut dyn Spending,
    progress: &dyn Progress,
    keep: &mut dyn FnMut(&GaussianModel) -> Result<Value>,
) -> Result<(GaussianModel, Hidden)> {
    plan.check()?;
    plan.unit_sum().check(&charge)?;
    let [_, _, d] = cells.size();
    if rows.dim() != 2 || rows.size()[1] != d || labels.size() != [rows.size()[0]] {
        return Err(Error::invalid(format!(
            "latents of shape {:?} and labels of shape {:?} do not fit cells of {d} latents",
            rows.size(),
            labels.size()
        )));
    }
    // A record is in one cell, and so are its roundings.
    let on = plan.unit_sum().lattice(numbers(d) as usize, spending.protects())?;
    // Before the charge: work that can be stopped, and then has cost nothing.
    let sum_private = sum((rows, labels), cells, plan, on, progress)?;
    plan.unit_sum().release(&sum_private, on.lattice, charge, spending, &mut |noisy| {
        let (model, hidden) = GaussianModel::of_sum(&noisy, cells, plan)?;
        let remembered = keep(&model)?;
        Ok(((model, hidden), remembered))
    })
}

/// Rows that are worked on at once: in a batch, a row's place may move the last bits of what
/// libtorch's kernels give, and then one record that goes would move the others' vectors.
const ALONE: i64 = 1;

/// The sum of the records' vectors, in steps of the lattice, cell by cell; each vector is computed
/// alone.
///
/// # Errors
/// A stop.
fn sum(
    (rows, labels): (&Tensor, &Tensor),
    cells: &Cells,
    plan: &GaussianPlan,
    UnitLattice { lattice, clip }: UnitLattice,
    progress: &dyn Progress,
) -> Result<Vec<i64>> {
    let [classes, components, d] = cells.size();
    let all = classes * components;
    let centres = cells.centres.f_view([all, d])?;
    let mut total = Tensor::f_zeros([all, numbers(d)], (Kind::Int64, tch::Device::Cpu))?;
    tensor::batches(rows.size()[0], ALONE, |first, n| {
        progress.check()?;
        let (rows, labels) = (rows.f_narrow(0, first, n)?, labels.f_narrow(0, first, n)?);
        let at = cells.of_rows(&rows, &labels)?;
        let offsets = rows - centres.f_index_select(0, &at)?;
        // What is no number counts for nothing.
        let vectors = plan.vectors(&offsets)?;
        let finite = vectors.f_isfinite()?.f_all_dim(1, true)?;
        let vectors = vectors.f_where_self(&finite, &vectors.f_zeros_like()?)? * clip;
        let rounded = vectors.f_div_scalar(lattice.step())?.f_round()?.f_to_kind(Kind::Int64)?;
        let _ = total.f_index_add_(0, &at, &rounded)?;
        progress.advance(n as u64, "");
        Ok(())
    })?;
    Ok(Vec::try_from(total.f_flatten(0, -1)?)?)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::base::progress::Silent;
    use crate::base::rng::Purpose;

    fn plan() -> GaussianPlan {
        GaussianPlan { noise_multiplier: 3.0, radius: 4.0, weights: [0.3, 0.7, 1.0], floor: 0.02 }
    }

    /// Attacked: any record at all, under any weights and centres, moves the sum by no more than 1.
    #[test]
    fn a_record_moves_the_sum_by_one_at_most() {
        let mut stream = Stream::new(3, Purpose::Sampling, 0);
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 0.0, 1e6, -1e-6];
        let mut longest = 0.0f64;
        for turn in 0..400 {
            let size = [0.1f32, 3.0, 1e6][turn % 3];
            let mut values = stream.uniform(5, -size, size);
            if turn % 4 == 0 {
                values[turn % 5] = odd[turn / 4 % odd.len()];
            }
            let weights = stream.uniform(3, 0.01, 2.0);
            let plan = GaussianPlan { weights: [0, 1, 2].map(|at| f64::from(weights[at])), ..plan() };
            let components = 1 + (turn % 3) as i64;
            let cells = Cells { centres: stream.normal_tensor(&[3, components, 5]).unwrap() };
            let row = tensor::from_f32(&values, &[1, 5]).unwrap();
            let label = tensor::from_i64(&[(turn % 3) as i64]);
            let on = plan.unit_sum().lattice(numbers(5) as usize, true).unwrap();
            let sum = sum((&row, &label), &cells, &plan, on, &Silent).unwrap();
            let norm = sum.iter().map(|&x| (x as f64 * on.lattice.step()).powi(2)).sum::<f64>().sqrt();
            assert!(norm <= 1.0, "{values:?} with {weights:?}: {norm}");
            longest = longest.max(norm);
        }
        // And the bound is met, so that no noise is wasted.
        assert!(longest > 0.999, "{longest}");
    }

    /// Without noise it is the mean and the covariance, and samples have them.
    #[test]
    fn without_noise_it_is_the_moments_themselves() {
        let (n, d) = (4000, 3);
        let mut stream = Stream::new(2, Purpose::Sampling, 0);
        let mix = tensor::from_f32(&[0.8, 0.0, 0.0, 0.4, 0.5, 0.0, -0.3, 0.2, 0.6], &[3, 3]).unwrap();
        let shift = tensor::from_f32(&[0.5, -1.0, 0.25], &[3]).unwrap();
        let rows = stream.normal_tensor(&[n, d]).unwrap().matmul(&mix.transpose(0, 1)) + &shift;
        let labels: Vec<i64> = (0..n).map(|row| i64::from(row % 4 == 0)).collect();
        let plan = GaussianPlan { noise_multiplier: 0.0, radius: 9.0, floor: 1e-6, ..plan() };
        let cells = Cells::plain(2, d).unwrap();
        let charge =
            Charge::new(plan.mechanism(), dp_accounting::Adjacency::AddOrRemoveOne, "test", "moments");
        let mut none = crate::dp::Unprotected::without_noise(1);
        let (model, hidden) = release(
            (&rows, &tensor::from_i64(&labels)),
            &cells,
            &plan,
            charge,
            &mut none,
            &Silent,
            &mut |_| Ok(Value::Null),
        )
        .unwrap();
        assert_eq!(hidden, Hidden { cells: 0, eigenvalues: 0 });
        let shares = model.class_shares().unwrap();
        assert!((shares[0] - 0.75).abs() < 1e-4 && (shares[1] - 0.25).abs() < 1e-4, "{shares:?}");
        let drawn = model.sample(&vec![0; 40_000], &mut stream).unwrap();
        let moments = |rows: &Tensor| {
            (
                rows.mean_dim([0i64].as_slice(), false, Kind::Float),
                rows.transpose(0, 1).cov(1, None::<Tensor>, None::<Tensor>),
            )
        };
        let of_class: Vec<i64> = (0..n).filter(|row| labels[*row as usize] == 0).collect();
        let (mean, covariance) = moments(&rows.index_select(0, &tensor::from_i64(&of_class)));
        let (drawn_mean, drawn_covariance) = moments(&drawn);
        let apart = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]);
        assert!(apart(&mean, &drawn_mean) < 0.02 && apart(&covariance, &drawn_covariance) < 0.03);
        assert!(model.sample(&[2], &mut stream).is_err());
    }

    #[test]
    fn what_noise_hides_is_left_out_and_counted() {
        let cells = Cells { centres: Tensor::zeros([2, 2, 2], (Kind::Float, Device::Cpu)) };
        let numbers = numbers(2) as usize;
        let plan = plan();
        let mut sum = vec![0.0; 4 * numbers];
        // One cell of the first class was seen; nothing of the second.
        let unit = plan.weights[0] / plan.longest();
        sum[numbers] = 1000.0 * unit;
        let (model, hidden) = GaussianModel::of_sum(&sum, &cells, &plan).unwrap();
        assert_eq!(hidden, Hidden { cells: 3, eigenvalues: 2 });
        assert_eq!(model.class_shares().unwrap(), [1.0, 0.0]);
        assert_eq!(tensor::to_f32(model.shares[1].value()).unwrap(), [0.0, 1.0, 0.5, 0.5]);
        assert!(GaussianModel::of_sum(&sum[1..], &cells, &plan).is_err());
    }

    #[test]
    fn public_centres_lie_where_public_latents_do() {
        let mut stream = Stream::new(5, Purpose::Sampling, 1);
        let near = |at: f64, stream: &mut Stream| stream.normal_tensor(&[50, 2]).unwrap() * 0.1 + at;
        let rows = Tensor::cat(&[near(-3.0, &mut stream), near(3.0, &mut stream)], 0);
        let centres = k_means(&rows, 2, &mut stream).unwrap();
        let mut firsts = tensor::to_f32(&centres.select(1, 0)).unwrap();
        firsts.sort_by(f32::total_cmp);
        assert!((firsts[0] + 3.0).abs() < 0.2 && (firsts[1] - 3.0).abs() < 0.2, "{firsts:?}");
        assert!(k_means(&rows, 101, &mut stream).is_err());
    }
}
