
# Names of experiments, runs, models, metrics, data sets and keys, which the program knows.
_timbre_values() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" before="" command="" experiment="" what="" word at
    # Bash divides words at colons: `run:model` is three of them.
    if [[ "$COMP_WORDBREAKS" == *:* && "$cur" == : ]]; then
        before="$prev:" prev="${COMP_WORDS[COMP_CWORD-2]}" cur=""
    elif [[ "$COMP_WORDBREAKS" == *:* && "$prev" == : ]]; then
        before="${COMP_WORDS[COMP_CWORD-2]}:" prev="${COMP_WORDS[COMP_CWORD-3]}"
    fi
    for ((at = 1; at < COMP_CWORD; at++)); do
        word="${COMP_WORDS[at]}"
        if [[ "$word" != -* && -z "$command" ]]; then command="$word"
        elif [[ "$word" != -* && -z "$experiment" ]]; then experiment="$word"
        fi
    done
    case "$prev" in
        --set) what=keys ;;
        --metric) what=metrics ;;
        --data) what=data ;;
        --from) what=experiments ;;
        --reference) what=models ;;
        --baseline) what=runs ;;
        -*) ;;
        *)
            [[ "$cur" == -* ]] || case "$command" in
                run | check | plan | features | watch) [[ -n "$experiment" && "$prev" != "$command" ]] || what=experiments ;;
                runs) what=experiments ;;
                report | reproduce | rm) what=runs ;;
                baseline) [[ "$prev" != save ]] || what=runs ;;
                compare | diff | thresholds | evaluate | serve) what=models ;;
                # The arguments after the run are files.
                predict) [[ "$prev" != predict ]] || what=models ;;
            esac
            ;;
    esac
    if [[ -z "$what" ]]; then
        _timbre "$@"
        return
    fi
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$(timbre completions --values "$what" --of="$experiment" 2> /dev/null)" -- "$before$cur"))
    COMPREPLY=("${COMPREPLY[@]#"$before"}")
    [[ "$what" != keys ]] || compopt -o nospace
}
complete -F _timbre_values -o bashdefault -o default timbre
