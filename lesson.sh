# lesson.sh NAME...: text -> notebook, run, word and line counts
cd /tmp/w/k; . /work/main/.venv/bin/activate; export PYTHONPATH=$PWD OMP_NUM_THREADS=1
for n in "$@"; do
  jupytext --quiet --opt cell_metadata_filter=-all --opt notebook_metadata_filter=-all --to ipynb $( [ -f nbs/course/$n.ipynb ] && echo --update ) -o nbs/course/$n.ipynb .text/course/$n.py || exit 1
  python - $n <<'P'
import json,sys,re,uuid
p=f'nbs/course/{sys.argv[1]}.ipynb'; nb=json.load(open(p)); nb['metadata']={'kernelspec':{'display_name':'python3','language':'python','name':'python3'}}; nb['nbformat_minor']=5
for c in nb['cells']:
    c.setdefault('id',uuid.uuid4().hex[:8])
json.dump(nb,open(p,'w'),indent=1,ensure_ascii=False); open(p,'a').write('\n')
src=[(c['cell_type'],''.join(c['source'])) for c in nb['cells']]
words=sum(len(s.split()) for k,s in src if k=='markdown'); code=[l for k,s in src if k=='code' for l in s.splitlines() if l.strip() and not l.startswith('#|')]
print(sys.argv[1],'words',words,'code lines',len(code),'longest',max(map(len,code)))
P
  timeout 580 tools/nb.py run course/$n || exit 1
  python - $n <<'P'
import json,sys,base64
nb=json.load(open(f'nbs/course/{sys.argv[1]}.ipynb')); k=0
for i,c in enumerate(nb['cells']):
    for o in c.get('outputs',[]):
        if 'text' in o: print(f'[{i}]',''.join(o['text'])[:1500].rstrip())
        if 'image/png' in o.get('data',{}): open(f'/tmp/w/k_{sys.argv[1]}_{i}.png','wb').write(base64.b64decode(''.join(o['data']['image/png']))); print(f'[{i}] png')
P
done
