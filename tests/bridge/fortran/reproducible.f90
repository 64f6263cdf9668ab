! SPDX-License-Identifier: Apache-2.0
!> The host of the DEBUG case: the weather of tests/reproducibility/program.py without a rounding, and all answers of
!! every step in a file. Arguments: coupling file, file of answers, rows and columns of the grid, steps.
program reproducible
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   use testing, only: argument
   implicit none
   character(len=6), parameter :: outputs(8) = &
      [character(len=6) :: 'lai', 'gpp', 'reco', 'nee', 'snw', 'mrso', 'tsl', 'tasmax']
   integer :: rows, columns, steps, istep, i, unit
   integer, allocatable :: id(:)
   real(real64), allocatable, target :: tas(:), rsds(:), hurs(:), wind(:), answers(:, :)
   type(coupler_t) :: coupler

   rows = number(3)
   columns = number(4)
   steps = number(5)
   id = [(i, i=1, rows*columns)]
   allocate (tas(size(id)), rsds(size(id)), hurs(size(id)), wind(size(id)))
   allocate (answers(size(id), size(outputs)), source=0.0_real64)

   call coupler%init(argument(1), start='2001-01-01', dt=3600.0_real64)
   call coupler%set_cells(id, (mod(id - 1, columns) + 0.5_real64)*360/columns, &
                          -90 + ((id - 1)/columns + 0.5_real64)*180/rows)
   call coupler%bind('tas', tas)
   call coupler%bind('rsds', rsds)
   call coupler%bind('hurs', hurs)
   call coupler%bind('sfcWind', wind)
   do i = 1, size(outputs)
      call coupler%bind(trim(outputs(i)), answers(:, i))
   end do
   open (newunit=unit, file=argument(2), access='stream', form='unformatted', status='replace')
   do istep = 1, steps
      tas = 263 + mod(7*id + 13*istep, 61)*0.5_real64
      rsds = mod(11*id + 29*istep, 97)*4
      hurs = 20 + mod(5*id + 3*istep, 67)
      wind = 1 + mod(3*id + 17*istep, 31)*0.25_real64
      call coupler%step()
      write (unit) answers
   end do
   close (unit)
   call coupler%finalize()

contains

   integer function number(place)
      integer, intent(in) :: place
      character(len=:), allocatable :: text

      text = argument(place)
      read (text, *) number
   end function number
end program reproducible
