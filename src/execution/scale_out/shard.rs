//! A shard: the recordings of an experiment whose paths hash to one of `n` numbers.
//!
//! The assignment depends on the path of a recording alone, not on the order or the number of the others: a recording that is
//! added leaves all others in their shards.

use std::fmt;

/// One of `count` shards, counted from 0 as array indices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    pub index: usize,
    pub count: usize,
}

/// More shards than any engine's array has tasks.
pub const MAX_SHARDS: usize = 100_000;

impl Shard {
    /// Parses `3/16`, `auto` or `auto/16`. `variable` reads the environment, from which `auto` takes the number.
    pub fn parse(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
        let (index, count) = match text.split_once('/') {
            Some((index, count)) => (index, Some(number("the number of shards", count)?)),
            None => (text, None),
        };
        let shard = match (index, count) {
            ("auto", Some(count)) => Shard { index: task_index(&variable)?, count },
            ("auto", None) => whole_array(&variable)?,
            (index, Some(count)) => Shard { index: number("the shard", index)?, count },
            (_, None) => return Err("write i/n, such as 0/16, or auto or auto/n".to_owned()),
        };
        if shard.count == 0 || shard.count > MAX_SHARDS {
            return Err(format!("1 to {MAX_SHARDS} shards are possible, not {}", shard.count));
        }
        if shard.index >= shard.count {
            return Err(format!("shards count from 0: the last of {0} is {1}/{0}", shard.count, shard.count - 1));
        }
        Ok(shard)
    }

    /// Whether a recording belongs to this shard.
    pub fn holds(&self, path: &str) -> bool {
        shard_of(path, self.count) == self.index
    }
}

/// The shard of a recording, by the hash of its path in the data set.
pub fn shard_of(path: &str, count: usize) -> usize {
    let hash = blake3::hash(path.as_bytes());
    let number = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
    (number % count as u64) as usize
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

fn number(what: &str, text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|_| format!("{what} is a whole number, not {text:?}"))
}

/// The variables in which engines give the number of a task: Slurm, HyperQueue, Kubernetes, torchrun.
const INDEX: [&str; 4] = ["SLURM_ARRAY_TASK_ID", "HQ_TASK_ID", "JOB_COMPLETION_INDEX", "RANK"];

fn task_index(variable: impl Fn(&str) -> Option<String>) -> Result<usize, String> {
    let (name, value) = INDEX
        .iter()
        .find_map(|name| Some((name, variable(name)?)))
        .ok_or_else(|| format!("auto needs one of these variables: {}", INDEX.join(", ")))?;
    number(name, &value)
}

/// The shard where the engine tells how many tasks there are, too.
fn whole_array(variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
    let read = |name: &str| variable(name).map(|value| number(name, &value)).transpose();
    let index = task_index(&variable)?;
    if variable(INDEX[0]).is_some() {
        let (count, first, last) =
            (read("SLURM_ARRAY_TASK_COUNT")?, read("SLURM_ARRAY_TASK_MIN")?, read("SLURM_ARRAY_TASK_MAX")?);
        return match (count, first, last) {
            (Some(count), Some(first), Some(last)) if last + 1 == first + count && first <= index => {
                Ok(Shard { index: index - first, count })
            }
            // Some tasks of an array that was submitted again.
            _ => {
                Err("the indices of this Slurm array have gaps: write auto/n with the number of all shards".to_owned())
            }
        };
    }
    match read("WORLD_SIZE")?.filter(|_| variable("RANK").is_some()) {
        Some(count) => Ok(Shard { index, count }),
        None => Err("this engine does not tell the number of its tasks: write auto/n".to_owned()),
    }
}

/// Numbers as the option of an array job has them: `3,17,40-44`.
pub fn array_spec(numbers: &[usize]) -> String {
    let ranges = numbers.chunk_by(|a, b| a + 1 == *b);
    let text = |range: &[usize]| match range {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    };
    ranges.map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Shard, String> {
        Shard::parse(text, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn every_recording_is_in_exactly_one_shard() {
        let paths: Vec<String> = (0..1000).map(|n| format!("cel/{n}.wav")).collect();
        let mut sizes = Vec::new();
        for index in 0..7 {
            let shard = Shard { index, count: 7 };
            sizes.push(paths.iter().filter(|path| shard.holds(path)).count());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 1000);
        assert!(sizes.iter().all(|size| (100..200).contains(size)), "{sizes:?}");
    }

    #[test]
    fn auto_reads_the_variables_of_the_engines() {
        let slurm = |id, count, min, max| {
            [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_MIN", min),
                ("SLURM_ARRAY_TASK_MAX", max),
            ]
        };
        let shard = |index, count| Ok(Shard { index, count });
        assert_eq!(parse("3/16", &[]), shard(3, 16));
        assert_eq!(parse("auto", &slurm("5", "8", "1", "8")), shard(4, 8));
        assert_eq!(parse("auto/16", &slurm("5", "2", "5", "9")), shard(5, 16));
        assert_eq!(parse("auto", &[("RANK", "2"), ("WORLD_SIZE", "4")]), shard(2, 4));
        assert_eq!(parse("auto/4", &[("HQ_TASK_ID", "3")]), shard(3, 4));
        assert_eq!(parse("auto/4", &[("JOB_COMPLETION_INDEX", "0")]), shard(0, 4));
    }

    #[test]
    fn a_shard_that_cannot_be_known_is_refused() {
        let gaps = [("SLURM_ARRAY_TASK_ID", "5"), ("SLURM_ARRAY_TASK_COUNT", "2"), ("SLURM_ARRAY_TASK_MIN", "5")];
        assert!(parse("auto", &gaps).unwrap_err().contains("auto/n"));
        assert!(parse("auto", &[("HQ_TASK_ID", "3")]).unwrap_err().contains("auto/n"));
        assert!(parse("auto", &[]).unwrap_err().contains("SLURM_ARRAY_TASK_ID"));
        assert!(parse("16/16", &[]).unwrap_err().contains("15/16"));
        for wrong in ["3", "a/4", "1/0", "/", "-1/4", "1/100001"] {
            assert!(parse(wrong, &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn missing_shards_are_an_array_specification() {
        assert_eq!(array_spec(&[3, 17, 40, 41, 42, 43, 44]), "3,17,40-44");
        assert_eq!((array_spec(&[]), array_spec(&[0, 1])), (String::new(), "0-1".to_owned()));
    }
}
