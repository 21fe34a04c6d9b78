-- An in-memory database: rows, indexes, strings, groups and JSON. :n is set by the runner.
create table t(a integer primary key, b text, c text);
with recursive i(x) as (select 1 union all select x + 1 from i where x < :n)
    insert into t select x, printf('%08x', x * 7919 % 1000003), substr('0123456789012345678901234567890123456789', 1, x % 40) from i;
create index t_b on t(b);
create index t_c on t(c, b);
update t set c = c || b where a % 3 = 0;
delete from t where a % 11 = 0;
select count(distinct b), sum(length(c)) from t;
select substr(b, 1, 3), count(*), max(c) from t group by 1 order by 2 desc, 1 limit 5;
select sum(length(j)) from (select json_group_array(json_object('a', a, 'b', b)) as j from t group by a % 1000);
select count(*) from t as x join t as y on x.b = y.c;
select sum(length(group_concat)) from (select group_concat(b) as group_concat from t group by a % 500);
select sum(s) from (select sum(length(c)) over (partition by a % 100 order by b rows 3 preceding) as s from t);
