//! A map that knows which of its entries was touched longest ago, for what is remembered by the million.
//!
//! Entries lie side by side in one vector and are linked by their places, 4 bytes each way; the index holds places too. So an
//! entry costs its key, its value and about 18 bytes, and nothing of it lies between the short-lived allocations of requests,
//! which could then not be given back. A vector of that size grows by remapping its pages.
//!
//! Bounds are the caller's: nothing leaves by itself.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// A map in the order of last touch, oldest first.
pub struct Aged<K, V> {
    slots: Vec<Slot<K, V>>,
    places: HashTable<u32>,
    hasher: DefaultHashBuilder,
    oldest: u32,
    youngest: u32,
}

struct Slot<K, V> {
    key: K,
    value: V,
    older: u32,
    younger: u32,
}

/// No place.
const NONE: u32 = u32::MAX;

impl<K: Copy + Eq + Hash, V> Aged<K, V> {
    /// An empty one; takes memory as it fills.
    pub fn new() -> Self {
        Self {
            slots: Vec::new(),
            places: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            oldest: NONE,
            youngest: NONE,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// There is one under this key.
    pub fn contains(&self, key: &K) -> bool {
        self.place(key).is_some()
    }

    /// Looks without touching.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.place(key).map(|place| &self.slots[place as usize].value)
    }

    /// Changes without touching.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key)?;
        Some(&mut self.slots[place as usize].value)
    }

    /// Touches it: from now on it is the youngest. It is made first if there is none.
    pub fn touch(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let place = match self.place(&key) {
            Some(place) => place,
            None => self.push(key, make()),
        };
        if self.youngest != place {
            self.unlink(place);
            self.link(place);
        }
        &mut self.slots[place as usize].value
    }

    /// Puts it in as the youngest, and gives what was there under its key.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.remove(&key);
        self.push(key, value);
        before
    }

    /// Takes it out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key)?;
        Some(self.take(place).1)
    }

    /// The one touched longest ago.
    pub fn oldest(&self) -> Option<(&K, &V)> {
        self.slots.get(self.oldest as usize).map(|slot| (&slot.key, &slot.value))
    }

    /// Takes out the one touched longest ago.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        (self.oldest != NONE).then(|| self.take(self.oldest))
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.slots.iter().map(|slot| (&slot.key, &slot.value))
    }

    /// All values, in no order, to be changed without touching.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().map(|slot| &mut slot.value)
    }

    /// Takes out those of which this is not true.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&K, &mut V) -> bool) {
        for place in (0..self.slots.len()).rev() {
            let slot = &mut self.slots[place];
            if !is_kept(&slot.key, &mut slot.value) {
                self.take(place as u32);
            }
        }
    }

    fn place(&self, key: &K) -> Option<u32> {
        let is_it = |place: &u32| self.slots[*place as usize].key == *key;
        self.places.find(self.hasher.hash_one(key), is_it).copied()
    }

    fn push(&mut self, key: K, value: V) -> u32 {
        let place = u32::try_from(self.slots.len()).ok().filter(|place| *place != NONE).expect("fewer than 2^32 - 1");
        self.slots.push(Slot { key, value, older: NONE, younger: NONE });
        let (slots, hasher) = (&self.slots, &self.hasher);
        let rehash = |place: &u32| hasher.hash_one(slots[*place as usize].key);
        self.places.insert_unique(hasher.hash_one(key), place, rehash);
        self.link(place);
        place
    }

    /// The last slot moves into the one that becomes free, so that there are no holes.
    fn take(&mut self, place: u32) -> (K, V) {
        self.unlink(place);
        self.forget(place);
        let last = (self.slots.len() - 1) as u32;
        if last != place {
            let hash = self.hasher.hash_one(self.slots[last as usize].key);
            *self.places.find_mut(hash, |at| *at == last).expect("every slot is in the index") = place;
            let Slot { older, younger, .. } = self.slots[last as usize];
            *self.younger_of(older) = place;
            *self.older_of(younger) = place;
        }
        let slot = self.slots.swap_remove(place as usize);
        (slot.key, slot.value)
    }

    fn forget(&mut self, place: u32) {
        let hash = self.hasher.hash_one(self.slots[place as usize].key);
        if let Ok(entry) = self.places.find_entry(hash, |at| *at == place) {
            entry.remove();
        }
    }

    fn link(&mut self, place: u32) {
        let older = std::mem::replace(&mut self.youngest, place);
        *self.younger_of(older) = place;
        let slot = &mut self.slots[place as usize];
        (slot.older, slot.younger) = (older, NONE);
    }

    fn unlink(&mut self, place: u32) {
        let Slot { older, younger, .. } = self.slots[place as usize];
        *self.younger_of(older) = younger;
        *self.older_of(younger) = older;
    }

    /// Where it stands which one is younger than that; beyond the oldest it is the list's own end.
    fn younger_of(&mut self, place: u32) -> &mut u32 {
        self.slots.get_mut(place as usize).map_or(&mut self.oldest, |slot| &mut slot.younger)
    }

    fn older_of(&mut self, place: u32) -> &mut u32 {
        self.slots.get_mut(place as usize).map_or(&mut self.youngest, |slot| &mut slot.older)
    }
}

impl<K: Copy + Eq + Hash, V> Default for Aged<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Touch(u8),
        Insert(u8, u32),
        Remove(u8),
        PopOldest,
        RetainEven,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..24u8).prop_map(Step::Touch),
            3 => (0..24u8, any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
            2 => (0..24u8).prop_map(Step::Remove),
            2 => Just(Step::PopOldest),
            1 => Just(Step::RetainEven),
        ]
    }

    /// A list of pairs, oldest first: slow, and plainly right.
    fn take(list: &mut Vec<(u8, u32)>, key: u8) -> Option<u32> {
        let at = list.iter().position(|(known, _)| *known == key)?;
        Some(list.remove(at).1)
    }

    fn drain(mut aged: Aged<u8, u32>) -> Vec<(u8, u32)> {
        std::iter::from_fn(|| aged.pop_oldest()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        #[test]
        fn it_does_what_a_list_in_order_does(steps in prop::collection::vec(step(), 0..120)) {
            let (mut aged, mut list) = (Aged::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Touch(key) => {
                        let value = take(&mut list, key).unwrap_or(7);
                        prop_assert_eq!(*aged.touch(key, || 7), value);
                        list.push((key, value));
                    }
                    Step::Insert(key, value) => {
                        prop_assert_eq!(aged.insert(key, value), take(&mut list, key));
                        list.push((key, value));
                    }
                    Step::Remove(key) => prop_assert_eq!(aged.remove(&key), take(&mut list, key)),
                    Step::PopOldest => {
                        prop_assert_eq!(aged.oldest().map(|(key, value)| (*key, *value)), list.first().copied());
                        prop_assert_eq!(aged.pop_oldest(), (!list.is_empty()).then(|| list.remove(0)));
                    }
                    Step::RetainEven => {
                        aged.retain(|_, value| *value % 2 == 0);
                        list.retain(|(_, value)| *value % 2 == 0);
                    }
                }
                prop_assert_eq!((aged.len(), aged.is_empty()), (list.len(), list.is_empty()));
                for key in 0..24 {
                    let known = list.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
                    prop_assert_eq!((aged.get(&key).copied(), aged.contains(&key)), (known, known.is_some()));
                }
            }
            prop_assert_eq!(aged.iter().count(), list.len());
            prop_assert_eq!(drain(aged), list);
        }
    }

    #[test]
    fn a_change_without_a_touch_leaves_the_order() {
        let mut aged = Aged::new();
        aged.insert(1, 10);
        aged.insert(2, 20);
        *aged.get_mut(&1).unwrap() += 1;
        aged.values_mut().for_each(|value| *value += 100);
        assert_eq!(drain(aged), [(1, 111), (2, 120)]);
    }
}
