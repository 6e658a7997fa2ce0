-- Why an import must not be applied as it is: too many devices would be marked as vanished.
alter table imports add column brake text;
