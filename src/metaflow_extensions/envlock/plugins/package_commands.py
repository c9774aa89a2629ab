"""The commands by which a task gets its code package: from S3 without a package index, or else as Metaflow does it.

Metaflow installs boto3 and requests in each container before it can fetch the code package. A program of the standard
library fetches it first; only if that fails do Metaflow's own commands run, all of them.
"""

# Made from scripts/code_package_program.py by scripts/package_program.py: change that, and run `make docs-check`.
# fmt: off
PROGRAM = "c-nPUZFAa25dO}uP;Z7<LN6F%yEPLfqhcjyLcoLMxGtrd1Fb=^q$78y#7@Tly?b|<*ljw)AZhoxeR=lfifYTav^G?1%3|qlD!THR@Hnk=R(Tve!B)2*Jy}%Hy5X#{8eSqY*itUQD)jNrGYyB&4G8%|7nZbI=G2M@OayC?P=B#Wbd_Ypjh)u#ow}2Foz8l&Y>G0^*cNKw_628m_vaW(i67q|94Al;duBY?<_JnT(A;){99Ap`+i97g0|7FJ8`_joh0hvkpQ0|jvB_EdHo6?A*(`oHnofwrIBA3rR7k%^T2Xk|`noAfuzG`*CHX!6TctV|PtGo;qe+@w&c?(+X|ANva2O{^_CCJOMrT@FC~*=GXK|YS&}vm}R7rx4vvm4Co|qFiR?Vc9D_0gM%vJn5nu{mtD7`ko?CoeAYqWxch9cHR;x#XJX<;H8DYs(K?FuP^wg_lNzp<Kr6~T&Cq%9nmbl*fPS+F{cglH<5u@bHdxw(SnD2G}W^8Up~;6fq#hrOPEc;fetUnp1tLWw7|f)LACBF|bL@j4_f20fdO<1CtCPA+-z#9+#9K|yq!@K~|`R8HpxrP$@h6c5AcB#lOsc$OiZnvZClVCBY9I{Fx6B}Rr4D+|9r=oci183SlR^MQ2qPELdV@lnwG^)TpTAcnlXD=Tut)BinVp52m4?7J>8xI83(_(-e|tG-`>q&bz;mnzd80wc-?pKaz6x-Gg!<4sr%-uK)kzLcdeF!MSWWI#?&$%BVxHVh44T&Bc%*hS{=BXdKd9Qn#qx1d!Qk2f6o^;aA;)wC3k@gW+08-JOzYnFdWa<A~}(B^={LiuWA$L_(LScBIK*Pj1PUM*bbzyoLATih^i#a2;cyRTN*2Jhj1loO96fUf0UM!bW0O%}S|2fChR_+;!q#A)<)JiW@2m)Y}SLi5kt_vO#Jx21Dvm<0Q0R)^EG*qECi4Hn9K8mie3gyc8s#U}0RcGb?)_Idk5JNc97%@(XHt<>@IFr5#6Ti}=wSKz;R*+u_H*>0~Xa;s47uOt8bLp1c0^QeD(qQp&TV@E{QH$N)Z49l`Xpj+W280m0dBNUq?a_xqDL=TLCone<DAl(b%yKTWigxDdEt3o$zgYB?`B#(XYIB3RvtqixGBa3wn`8m!Vj(E6XCL<c^m3&0p!U>?>?NQ58RhO#j9Uh2nSx6h>bv*J{O@dDh<#y$z9`|+^NFX*8$*`a3$-6iu9(avMl(PYG%O{rR{RM_-RQR}@B%^ne_{_hEuE)~|m+6maoL~cYd9hZT-|-y$X%c9tF0Ejvpq|_x@Q8`VFu+S}Q(nLquuB(Q@`kvL`;-(a8?Jb#%8xqzi7f+3xjw$cMRnV<;BEz5X~p`1i_oINk}3?`9z6vMu_dXL+?F0uQ4sI=@X*m+yL^SO7G7qSL=T$&Il1#Gx?eWxzVbP&(I#1#8iU5dFQL$RiV&2U5;f856Py&w7{rko#<P?ZwI!5a!wTFX!RmXddwRd;%rKMyTie|6fqB?Yr{C#B&OflcWm^"  # noqa: E501
# fmt: on

# What Argo runs beside a flow's steps (`_run_heartbeat_daemon`, `_hook_NAME`) needs Metaflow's libraries itself.
_FETCH = (
    "[[ $MF_PATHSPEC != */_* ]]&&%s -c 'import base64 as b,zlib;exec(zlib.decompress(b.b85decode(\\\"%s\\\")))'"
    "||{ %s;%s;}"
)
_URL = "'$METAFLOW_CODE_URL'"


def without_index(commands, install, download, url, python):
    """Metaflow's commands, changed so that they need no package index; as they are if they are not as expected.

    `install` and `download` are those among them that install libraries and fetch the code package, `url` is where it
    is.

    >>> without_index(["mflog 'Hello'", "cd x"], "pip", "get", "s3://team/x", "python")
    ["mflog 'Hello'", 'cd x']
    """
    loops = [each for each in commands if download in each]
    if commands.count(install) != 1 or len(loops) != 1 or not url.startswith("s3://"):
        return commands
    fetch = _FETCH % (python, PROGRAM, install, download)
    changed = []
    for each in commands:
        if each == loops[0]:
            changed.append(each.replace(download, fetch))
        elif each != install:
            # The scheduler sets this variable, and the limits of some on the length of a command are tight.
            changed.append(each.replace(url, _URL) if "mflog 'Failed" in each else each)
    return changed
