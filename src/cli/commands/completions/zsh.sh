# Names of experiments, runs, models, metrics, data sets and keys, which the program knows.
_timbre_values() {
    local -a values
    values=(${(f)"$(timbre completions --values $1 --of="${words[2]-}" 2> /dev/null)"})
    if [[ $1 == keys ]]; then
        compadd -S '' -a values
    else
        compadd -a values || _default
    fi
}
