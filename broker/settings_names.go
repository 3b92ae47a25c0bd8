package broker

import (
	"maps"
	"slices"
	"strconv"
)

// CheckSetting says what is wrong with a setting of a broker, nil when nothing is.
func CheckSetting(name, value string) error {
	_, err := newBrokerSettings(map[string]string{name: value})
	return err
}

// KnownSetting reports whether a broker setting is enforced here.
func KnownSetting(name string) bool {
	_, coarse := coarseSettingNamed(name)
	return coarse || brokerSetting(name) != nil
}

// checkSettings says what is wrong with some settings: with a name before a
// value, in the order of names.
func checkSettings(configs map[string]string, find func(string) (settingRow, error)) error {
	names := slices.Sorted(maps.Keys(configs))
	rows := make([]settingRow, len(names))
	for i, name := range names {
		var err error
		if rows[i], err = find(name); err != nil {
			return err
		}
	}
	for i, name := range names {
		if err := rows[i].check(name, configs[name]); err != nil {
			return err
		}
	}
	return nil
}

// check holds a value of a coarse setting against the bounds of the fine one.
func (c coarseSetting) check(value string) (fine string, err error) {
	n, err := integer(-1, 1<<31-1)(value)
	if err != nil {
		return "", invalid("Invalid value %s for configuration %s: %s", value, c.name, err)
	}
	if n > 0 {
		n *= c.factor
	}
	fine = strconv.FormatInt(n, 10)
	if err := brokerSetting(c.fine).check(c.fine, fine); err != nil {
		return "", invalid("Invalid value %s for configuration %s: that is %s=%s", value, c.name, c.fine, fine)
	}
	return fine, nil
}

func didYouMean(name string) string {
	if near := NearestSetting(name); near != "" {
		return ": did you mean " + near + "?"
	}
	return ""
}

// NearestSetting is the setting of brokers that a wrong name may mean: the one
// that topics call so, else the one that is spelt most like it; "" when none is.
func NearestSetting(name string) string {
	if s := topicSetting(name); s != nil {
		return s.brokerKey()
	}
	var names []string
	for _, s := range settingTable {
		names = append(names, s.brokerKey())
	}
	for _, c := range coarseSettings {
		names = append(names, c.name)
	}
	best, least := "", len(name)/3+1
	for _, known := range names {
		if d := editDistance(name, known); known != "" && d < least {
			best, least = known, d
		}
	}
	return best
}

// editDistance counts the letters to insert, delete or replace.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := last
			if a[i] != b[j] {
				replaced++
			}
			last, row[j+1] = row[j+1], min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
