use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::bindings::exports::model_foundry::logging::metrics as exported;
use super::{Component, Host, fields_from, put, types};
use crate::metrics::{Column, Kind, MetricsLogger, MetricsReader, Options, Query, Tally};
use crate::statistics::Statistics;
use crate::wandb::RunInfo;
use types::{Error, Field};

impl exported::Guest for Component {
    type Logger = Logger;
    type Reader = Reader;

    fn log_row(
        columns: u32,
        time: u64,
        step: u64,
        epoch: f64,
        values: exported::ShortRow,
    ) -> Result<(), ()> {
        let logged = COLUMNS.with_borrow(|columns_of_all| {
            let named = columns_of_all.get(columns as usize);
            let Some((Some(logger), own)) = named.map(|(logger, own)| (logger.upgrade(), *own))
            else {
                return Err(unknown(columns));
            };
            let mut logger = logger.borrow_mut();
            let exported::ShortRow { v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11 } = values;
            let values = [v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11];
            let Some(values) = values.get(..logger.width(own)?) else {
                return Err(crate::Error::Invalid(format!(
                    "a short row has at most {} columns",
                    values.len()
                )));
            };
            logger.log_row(own, time, step, epoch, values)
        });
        logged.map_err(|error| REFUSED.set(Some(error)))
    }

    fn why_refused() -> Option<Error> {
        REFUSED.take().map(Into::into)
    }
}

thread_local! {
    /// The columns of all loggers: each with its logger and its number there.
    static COLUMNS: RefCell<Vec<(Weak<RefCell<MetricsLogger<Host>>>, u32)>> =
        const { RefCell::new(Vec::new()) };
    /// Why the latest row was refused.
    static REFUSED: RefCell<Option<crate::Error>> = const { RefCell::new(None) };
}

fn unknown(columns: u32) -> crate::Error {
    crate::Error::Invalid(format!("there are no columns of number {columns}"))
}

pub(super) struct Logger(Rc<RefCell<MetricsLogger<Host>>>);

impl Logger {
    /// The logger's own number of columns.
    fn own(&self, columns: u32) -> Result<u32, crate::Error> {
        COLUMNS.with_borrow(|all| match all.get(columns as usize) {
            Some((logger, own)) if logger.as_ptr() == Rc::as_ptr(&self.0) => Ok(*own),
            _ => Err(unknown(columns)),
        })
    }
}

impl exported::GuestLogger for Logger {
    fn open(options: exported::Options) -> Result<exported::Logger, Error> {
        let options = Options {
            attempt: options.attempt,
            part: options.part.into(),
            wandb: options.wandb.map(|run| RunInfo {
                id: run.id,
                project: run.project,
                name: run.name,
                config: run.config,
                host: run.host,
                started: run.started,
            }),
        };
        let logger = MetricsLogger::open(&Host, options)?;
        Ok(exported::Logger::new(Self(Rc::new(RefCell::new(logger)))))
    }

    fn columns(&self, columns: Vec<exported::Column>) -> Result<u32, Error> {
        let columns = columns.into_iter().map(|column| Column {
            name: column.name,
            kind: match column.kind {
                exported::Kind::Float => Kind::Float,
                exported::Kind::Integer => Kind::Integer,
            },
        });
        let own = self.0.borrow_mut().columns(columns.collect())?;
        let named = (Rc::downgrade(&self.0), own);
        Ok(COLUMNS.with_borrow_mut(|all| {
            let known =
                |(logger, number): &(Weak<_>, u32)| logger.ptr_eq(&named.0) && *number == own;
            // The place of a logger that is gone serves again.
            let free = |(logger, _): &(Weak<RefCell<_>>, u32)| logger.strong_count() == 0;
            let place = all.iter().position(known).or_else(|| all.iter().position(free));
            put(all, place, named)
        }))
    }

    fn log_rows(
        &self,
        columns: u32,
        times: Vec<u64>,
        steps: Vec<u64>,
        epochs: Vec<f64>,
        values: Vec<f64>,
    ) -> Result<(), Error> {
        let columns = self.own(columns)?;
        Ok(self.0.borrow_mut().log_rows(columns, &times, &steps, &epochs, &values)?)
    }

    fn log_step(
        &self,
        step: u64,
        epoch: Option<f64>,
        metrics: Vec<Field>,
        step_inferred: bool,
    ) -> Result<(), Error> {
        let metrics = fields_from(metrics);
        Ok(self.0.borrow_mut().log_step(step, epoch, &metrics, step_inferred)?)
    }

    fn log_epoch_summary(&self, epoch: f64, summary: Vec<Field>) -> Result<(), Error> {
        Ok(self.0.borrow_mut().log_epoch_summary(epoch, &fields_from(summary))?)
    }

    fn statistics(&self, name: String) -> Result<exported::Statistics, Error> {
        Ok((&self.0.borrow_mut().statistics(&name)?).into())
    }

    fn all_statistics(&self) -> Result<Vec<exported::NamedStatistics>, Error> {
        Ok(named(&self.0.borrow_mut().all_statistics()?))
    }

    fn checkpoint(&self, exit_code: Option<i32>) -> Result<(), Error> {
        Ok(self.0.borrow_mut().checkpoint(exit_code)?)
    }
}

pub(super) struct Reader(RefCell<MetricsReader<Host>>);

impl exported::GuestReader for Reader {
    fn open(query: exported::Query) -> Result<exported::Reader, Error> {
        let query = Query {
            first_step: query.first_step,
            last_step: query.last_step,
            summaries: query.summaries,
            all_attempts: query.all_attempts,
        };
        let reader = MetricsReader::open(&Host, query)?;
        Ok(exported::Reader::new(Self(RefCell::new(reader))))
    }

    fn next(&self, max_bytes: u32) -> Result<Option<String>, Error> {
        Ok(self.0.borrow_mut().next(max_bytes as usize)?)
    }

    fn statistics(&self, names: Vec<String>) -> Result<Vec<exported::NamedStatistics>, Error> {
        Ok(named(&self.0.borrow_mut().statistics(&names)?))
    }

    fn overview(
        &self,
        points: u32,
    ) -> Result<(Vec<exported::NamedStatistics>, Vec<exported::Series>), Error> {
        let (tally, series) = self.0.borrow_mut().overview(points as usize)?;
        let series = series
            .into_iter()
            .map(|series| exported::Series { name: series.name, points: series.points });
        Ok((named(&tally), series.collect()))
    }

    fn damage(&self) -> exported::Damage {
        let reader = self.0.borrow();
        let damage = reader.damage();
        let first = damage.first.clone();
        exported::Damage {
            lines: damage.lines,
            first: first.map(|(part, line, problem)| (part.into(), line, problem)),
        }
    }
}

fn named(tally: &Tally) -> Vec<exported::NamedStatistics> {
    tally
        .iter()
        .filter(|(_, statistics)| statistics.count + statistics.non_finite() > 0)
        .map(|(name, statistics)| exported::NamedStatistics {
            name: name.to_owned(),
            statistics: statistics.into(),
        })
        .collect()
}

impl From<&Statistics> for exported::Statistics {
    fn from(statistics: &Statistics) -> Self {
        let any = statistics.count > 0;
        Self {
            count: statistics.count,
            mean: statistics.mean,
            min: if any { statistics.min } else { 0.0 },
            max: if any { statistics.max } else { 0.0 },
            std: statistics.std(),
            last: statistics.last,
            p50: statistics.percentile(0.5),
            p95: statistics.percentile(0.95),
            p99: statistics.percentile(0.99),
            nan: statistics.nan,
            positive_infinity: statistics.positive_infinity,
            negative_infinity: statistics.negative_infinity,
            first_non_finite_step: statistics.first_non_finite_step,
        }
    }
}
