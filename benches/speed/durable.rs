//! Records that are on the disk before they are acknowledged.

use ottla::record::Compression;

use crate::load::{self, Client};
use crate::report::{Goal, Row};
use crate::scenarios::{ANSWER_BYTES, Field, limit};
use crate::servers::Server;

const PRODUCERS: usize = 16;
/// Of one record, one after the other, from each producer.
const REQUESTS: u64 = 300;

impl Field<'_> {
    /// Acknowledgements a second when each waits for its sync. The limit loop shares syncs among those who wait, as Ottla.
    pub(crate) fn synced(&mut self) {
        for partitions in [1, 16] {
            let name = format!("synced, 16 producers, {partitions} partitions: acks/s");
            if self.report.wants(&name) {
                self.synced_on(name, partitions);
            }
        }
    }

    fn synced_on(&mut self, name: String, partitions: usize) {
        let batch = load::batch(1, Compression::None);
        let mut samples = [(); 3].map(|()| Vec::new());
        let folder = self.folder.join(format!("synced-{partitions}"));
        std::fs::create_dir(&folder).unwrap();
        let settings = ["ottla.durability=fsync"];
        let ottla = Server::ottla(Some(&folder.join("ottla")), &settings);
        let settings = ["log.flush.interval.messages=1"];
        let kafka = self.options.kafka.then(|| Server::kafka(&folder.join("kafka"), &settings));
        for _ in 0..self.options.rounds {
            let topic = self.topic();
            let (frames, ranges): (Vec<_>, Vec<_>) = (0..PRODUCERS)
                .map(|producer| load::produce_frame(&topic, producer % partitions, 1, &batch))
                .unzip();
            let measure = |server: &Server, check| {
                let outcome = load::produce(server.address, frames.clone(), REQUESTS, 1, check);
                outcome.requests as f64 / outcome.elapsed.as_secs_f64()
            };
            let numbers = [ranges[0].start, ranges[0].end, ANSWER_BYTES];
            let limit = limit("sync", &folder, numbers, &partitions.to_string());
            samples[0].push(measure(&limit, |_| ()));
            for (at, server) in [(1, Some(&ottla)), (2, kafka.as_ref())] {
                let Some(server) = server else { continue };
                let mut client = Client::connect(server.address);
                client.create(&topic, partitions);
                samples[at].push(measure(server, load::check_produced));
                client.delete(&topic);
            }
        }
        let [limit, ottla, kafka] = samples.map(|rates| rates.into_iter().fold(f64::NAN, f64::max));
        let goals = vec![Goal::AtLeastOfLimit(0.7), Goal::TimesKafka(3.0)];
        self.report.add(Row { name, limit, ottla, kafka, goals });
    }
}
